"""The Reply value, and every reply a client of ours ever gets: one a line.

Peers see only what stands here: a general description of the case, never the text of an exception
(maddy HACKING.md). Enhanced codes are those of RFC 3463, RFC 4954 section 6, RFC 5321 section 4.2 and RFC 6531.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply. `lines` has at least one; `close` ends the session once the reply is sent."""

    code: int
    enhanced: str  # "5.7.8"; empty for a greeting, EHLO list, 334 and 354
    lines: tuple[str, ...]
    close: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        return self.code < 400

    def encode(self) -> bytes:
        """The reply on the wire, the last line with a space after its code (RFC 5321 section 4.2)."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        if len(self.lines) == 1:  # nearly always
            return f"{self.code} {prefix}{self.lines[0]}\r\n".encode()
        last = len(self.lines) - 1
        return "".join(f"{self.code}{' ' if i == last else '-'}{prefix}{line}\r\n" for i, line in enumerate(self.lines)).encode(
            "utf-8"
        )


def _reply(code: int, enhanced: str, *lines: str, close: bool = False) -> Reply:
    return Reply(code, enhanced, lines, close)


# Conversation
BYE = _reply(221, "2.0.0", "Bye", close=True)
OK = _reply(250, "2.0.0", "OK")
FLUSHED = _reply(250, "2.0.0", "Flushed")
HELP = _reply(214, "2.0.0", "Submission over SMTP: RFC 5321, RFC 6409. Sign in with your account's e-mail and password.")
CANNOT_VERIFY = _reply(252, "2.5.2", "Cannot verify the address; send the message and see")
START_TLS = _reply(220, "2.0.0", "Ready to start TLS")
GO_AHEAD = _reply(354, "", "End data with <CR><LF>.<CR><LF>")
BAD_COMMAND = _reply(500, "5.5.2", "Command not recognized")
LINE_TOO_LONG = _reply(500, "5.5.6", "Line too long")
ENDLESS_LINE = _reply(421, "4.7.0", "Line too long, and no end in sight; closing", close=True)
ENDLESS_MESSAGE = _reply(552, "5.3.4", "Message far larger than the limit; closing", close=True)
BAD_SYNTAX = _reply(501, "5.5.4", "Syntax error in parameters")
NO_ARGUMENTS = _reply(501, "5.5.4", "This command takes no argument")
BAD_CHUNK_SIZE = _reply(501, "5.5.4", "BDAT needs a size, and perhaps LAST", close=True)
NOT_IMPLEMENTED = _reply(502, "5.5.1", "Command not implemented")
HELLO_FIRST = _reply(503, "5.5.1", "Send EHLO first")
ALREADY_TLS = _reply(503, "5.5.1", "TLS is already active")
NO_TLS = _reply(502, "5.5.1", "STARTTLS is not offered here")
TLS_IN_TRANSACTION = _reply(503, "5.5.1", "STARTTLS is not possible during a mail transaction")
NESTED_MAIL = _reply(503, "5.5.1", "A mail transaction is already under way")
MAIL_FIRST = _reply(503, "5.5.1", "Send MAIL first")
RECIPIENT_FIRST = _reply(503, "5.5.1", "Send RCPT first; no valid recipients")
CHUNKS_BEGUN = _reply(503, "5.5.1", "The message has been begun with BDAT")
BDAT_REFUSED = _reply(503, "5.5.1", "BDAT is out of order; the chunk was discarded")
UNKNOWN_PARAMETER = _reply(555, "5.5.4", "Parameter not recognized or not implemented")
BARE_LINE_END = _reply(421, "4.5.2", "Lines end with CR LF and hold no CR, LF or NUL inside; closing", close=True)
NOT_SMTP = _reply(421, "4.7.0", "This is an SMTP server, and that was none of its commands; closing", close=True)
SERVICE_ERROR = _reply(451, "4.3.0", "Temporary problem on our side; try again later")
IDLE = _reply(421, "4.4.2", "Waited too long; closing", close=True)
TOO_MANY_ERRORS = _reply(421, "4.7.0", "Too many errors; closing", close=True)
TOO_MANY_MESSAGES = _reply(421, "4.7.0", "Too many messages in one session; connect again to send more", close=True)
TOO_MANY_FAILED_SIGN_INS = _reply(421, "4.7.0", "Too many failed sign-ins in this session; closing", close=True)
SHUTTING_DOWN = _reply(421, "4.3.2", "Server is shutting down; try again soon", close=True)
TOO_MANY_CONNECTIONS = _reply(421, "4.7.0", "Too many connections; try again later", close=True)

# Sign-in
SIGNED_IN = _reply(235, "2.7.0", "Signed in")
TLS_FOR_AUTH = _reply(538, "5.7.11", "Encryption is required to sign in; send STARTTLS first")
AUTH_NOT_OFFERED = _reply(502, "5.5.1", "Signing in is not offered here")
ALREADY_SIGNED_IN = _reply(503, "5.5.1", "Already signed in")
AUTH_IN_TRANSACTION = _reply(503, "5.5.1", "AUTH is not possible during a mail transaction")
UNKNOWN_MECHANISM = _reply(504, "5.5.4", "Mechanism not supported; use PLAIN or LOGIN")
AUTH_CANCELLED = _reply(501, "5.7.0", "Sign-in cancelled")
BAD_BASE64 = _reply(501, "5.5.2", "Cannot decode the response")
AUTH_TOO_LONG = _reply(500, "5.5.6", "Authentication exchange line is too long")
WRONG_LOGIN = _reply(535, "5.7.8", "Wrong user name or password")
AUTH_UNAVAILABLE = _reply(454, "4.7.0", "Cannot check the password now; try again later")
AUTH_BUSY = _reply(454, "4.7.0", "Too many sign-ins at the moment; try again later")
TLS_FIRST = _reply(530, "5.7.0", "Send STARTTLS first")
SIGN_IN_FIRST = _reply(530, "5.7.0", "Sign in first")
NO_LONGER_VALID = _reply(421, "4.7.0", "Your sign-in is no longer valid; sign in again", close=True)

# Envelope
SENDER_OK = _reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = _reply(250, "2.1.5", "Recipient OK")
BAD_SENDER = _reply(553, "5.1.7", "The sender's address is not valid")
BAD_RECIPIENT = _reply(553, "5.1.3", "The recipient's address is not valid")
INCOMPLETE_SENDER = _reply(553, "5.1.7", "The sender's domain is not complete; write it in full, as in name@example.com")
BARE_IP_SENDER = _reply(553, "5.1.7", "The sender's domain is an IP address without brackets; write name@[192.0.2.1]")
NUMERIC_SENDER = _reply(553, "5.1.7", "The sender's domain is not valid, since it ends with a number")
INCOMPLETE_RECIPIENT = _reply(553, "5.1.3", "The recipient's domain is not complete; write it in full, as in name@example.com")
BARE_IP_RECIPIENT = _reply(553, "5.1.3", "The recipient's domain is an IP address without brackets; write name@[192.0.2.1]")
NUMERIC_RECIPIENT = _reply(553, "5.1.3", "The recipient's domain is not valid, since it ends with a number")
NEEDS_SMTPUTF8 = _reply(553, "5.6.7", "An address with other letters than ASCII needs SMTPUTF8 at MAIL")
NOT_YOUR_SENDER = _reply(553, "5.7.1", "The sender's address is not one of your account")
SUSPENDED = _reply(
    550, "5.7.1", "Sending is suspended: this account went over its daily limit; the operator of this service can lift it"
)
STORE_FULL = _reply(452, "4.3.1", "No room to store the message; try again later")


def locked(seconds: float) -> Reply:
    """`seconds` until the lockout ends; told in whole minutes."""
    minutes = max(1, math.ceil(seconds / 60))
    wait = "1 minute" if minutes == 1 else f"{minutes} minutes"
    return _reply(454, "4.7.0", f"Too many failed sign-in attempts; try again in {wait}")


def over_daily_limit(limit: int, resets_in: float, *, defer: bool) -> Reply:
    """`limit` in recipients a day; `resets_in` seconds from now, told in hours and minutes."""
    hours, minutes = divmod(max(1, math.ceil(resets_in / 60)), 60)
    wait = " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)
    text = f"Daily limit of {limit} recipients reached; it resets at 00:00 UTC, in {wait}"
    return _reply(450, "4.7.1", text) if defer else _reply(550, "5.7.1", text)


def too_many_recipients(limit: int) -> Reply:
    return _reply(452, "4.5.3", f"Too many recipients: at most {limit} a message")


def too_large(limit: int, size: int | None = None) -> Reply:
    """`limit` and `size` in octets."""
    of = f" of {size} octets" if size is not None else ""
    rounded = f" ({_mebibytes(limit)})" if limit >= 1024 else ""
    return _reply(552, "5.3.4", f"Message{of} is too large: the limit is {limit} octets{rounded}")


def _mebibytes(octets: int) -> str:
    return f"{octets / 1048576:.4g} MiB" if octets >= 104858 else f"{octets / 1024:.4g} KiB"


# Message
def accepted(queue_id: str) -> Reply:
    return _reply(250, "2.0.0", f"Accepted as {queue_id}")


def chunk_accepted(octets: int) -> Reply:
    return _reply(250, "2.0.0", f"{octets} octets received")


def bad_content(reason: str) -> Reply:
    return _reply(554, "5.6.0", f"Message refused: {reason}")


def not_your_header(field: str) -> Reply:
    return _reply(553, "5.7.1", f"The {field} field names an address that is not one of your account")


# Greeting
def greeting(hostname: str) -> Reply:
    return _reply(220, "", f"{hostname} ESMTP")


def hello(hostname: str) -> Reply:
    return _reply(250, "", hostname)


def extensions(hostname: str, keywords: Sequence[str]) -> Reply:
    """The answer to EHLO: the host name, then a keyword a line (RFC 5321 section 4.1.1.1)."""
    return _reply(250, "", hostname, *keywords)


def challenge(text: str) -> Reply:
    """334 with `text` already in base64 (RFC 4954 section 4)."""
    return _reply(334, "", text)
