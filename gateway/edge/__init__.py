"""Where mail comes in: Twisted protocols around gateway.smtp.server."""
