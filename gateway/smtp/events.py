"""What a client asks for, as values: the vocabulary between `ServerSession` and whoever decides.

Each event but `BodyPart` is answered with one Reply; nothing more is read from the peer until then.
"""

from dataclasses import dataclass, field

from gateway.address import Address


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO (`extended`) or HELO. `keywords` are the extensions of the session's state, without SIZE and LIMITS."""

    name: str
    extended: bool
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartTls:
    """Everything read so far is dropped and the 220 is ready: send it, start TLS, call `tls_started`. No answer."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A finished SASL exchange. The login is not checked for anything but UTF-8; undecodable octets are escaped."""

    mechanism: str
    login: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL with its parameters (RFC 1870, 3461, 4954, 6152, 6531). `sender` is None for the null path <>."""

    sender: Address | None
    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT with its parameters (RFC 3461)."""

    recipient: Address
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """RSET: whatever transaction is under way ends."""


@dataclass(frozen=True, slots=True)
class BodyStart:
    """DATA, or the first BDAT (`chunked`). Answered with GO_AHEAD to take the message, which BDAT does not send.

    A refusal of a chunk ends the transaction; after one of DATA the client may send DATA again.
    """

    chunked: bool


@dataclass(frozen=True, slots=True)
class BodyPart:
    """Some octets of the message: dots un-stuffed, line ends CRLF, at most a network read long. Answered with None."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChunkEnd:
    """A BDAT chunk that is not the last one has been read. A refusal ends the transaction."""

    octets: int


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The message is complete: `octets` with CRLF line ends and without stuffing, and what was seen in them."""

    octets: int
    bare_cr: bool
    bare_lf: bool
    nul: bool
    eight_bit: bool


Event = Hello | StartTls | Authenticate | MailFrom | RcptTo | Reset | BodyStart | BodyPart | ChunkEnd | BodyEnd
