"""The values between ClientSession and its driver: settings, stages, and events."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from gateway.smtp.transaction import Verdict


class Stage(Enum):
    """What the session waits for; the value ends a sentence that begins "connection lost ..."."""

    GREETING = "before the greeting"
    HELLO = "before the reply to EHLO"
    STARTTLS = "before the reply to STARTTLS"
    HANDSHAKE = "in the TLS handshake"
    AUTH = "before the reply to AUTH"
    IDLE = "between transactions"
    RSET = "before the reply to RSET"
    MAIL = "before the reply to MAIL"
    RCPT = "before the reply to RCPT"
    DATA = "before the reply to DATA"
    BODY = "while the message was being sent"
    DOT = "after the final dot; the hop may have taken the message"
    QUIT = "before the reply to QUIT"
    CLOSED = "after the end"


SETUP = frozenset({Stage.GREETING, Stage.HELLO, Stage.STARTTLS, Stage.HANDSHAKE, Stage.AUTH})


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to greet and sign in. `encrypted`: TLS runs already when the greeting comes."""

    hostname: str  # ours, for EHLO
    starttls: Literal["never", "offered", "required"] = "never"
    encrypted: bool = False
    user: str = ""  # "" does not sign in
    password: str = field(default="", repr=False)
    clear_auth: bool = False  # sign in without TLS


@dataclass(frozen=True, slots=True)
class StartTls:
    """The driver starts TLS on the transport now, then calls `tls_started`."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is set up."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """The session could not be set up and is closed. `code` 0: no reply said so."""

    code: int
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class SendBody:
    """The driver calls `send_body` for each block of the message, header first, then `end_body`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a transaction: a verdict for each recipient, in their order."""

    verdicts: tuple[Verdict, ...]
    mail_answered: bool  # False: the hop never answered MAIL (421 aside), so it has begun nothing
    lost_after_dot: bool = False


Event = StartTls | Ready | Unusable | SendBody | Finished
