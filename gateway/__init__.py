"""The account-linked SMTP gateway: people send mail with the address and password of their account."""

__version__ = "0.1.0"
