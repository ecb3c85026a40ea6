"""SMTP as a language: bytes in, events out. No sockets, no clock, no log."""
