"""Where mail goes out: next hops over SMTP, and Maildir."""
