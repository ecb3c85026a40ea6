"""What is decided and changed in a submitted header, in one visible order.

Nothing here reads a clock or draws a number: times and ids are arguments. The body and every field not named
here pass byte for byte; so does what a client itself writes into a field like X-Bcc or Apparently-To, which stand
for no blind recipient in any standard. Nothing of the envelope is ever put into the header.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal

from gateway import address
from gateway.address import Address, DomainFlaw
from gateway.message.header import BadContent, Header
from gateway.message.mailboxes import mailboxes, named
from gateway.values import value

MAX_RECEIVED = 50  # RFC 5321 section 6.3 wants 100 at least of a relay; a submission that has passed 50 hops is a loop
MAX_HELO = 255  # octets of the client's EHLO name in Received

Placement = Literal["to", "cc", "bcc"]

_ADDRESS_FIELDS = ("To", "Cc", "Reply-To", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc")  # besides From and Sender
_FLAWS = {
    DomainFlaw.ONE_LABEL: "not complete; write it in full, as in name@example.com",
    DomainFlaw.BARE_IP: "an IP address without brackets; write name@[192.0.2.1]",
    DomainFlaw.NUMERIC: "not valid, since it ends with a number",
}
_NOT_IN_HELO = re.compile(r"[^A-Za-z0-9.:\[\]_-]")


@value
class Trace:
    """What Received tells about this session."""

    hostname: str  # ours
    queue_id: str
    helo: str  # the client's own words
    client: str | None  # its IP address; None when hidden
    protocol: str  # "ESMTPSA" and so on, RFC 3848; "UTF8SMTPSA", RFC 6531 section 4.3
    tls: str  # the registered name of the cipher suite, as "TLS_AES_128_GCM_SHA256", or "" without TLS


@value
class Named:
    """Whom the To and the Cc fields name, as `Address.key`."""

    to: Collection[str] = ()
    cc: Collection[str] = ()


def check(header: Header) -> tuple[list[tuple[str, Address]], Named]:
    """Refuse what must not go on in an account's name, or at all; whom it is from (see `senders`) and to. Raises BadContent."""
    if len(header.all(b"received")) > MAX_RECEIVED:
        raise BadContent("it has passed too many mail servers; is it going in a circle?")
    authors = senders(header)
    for name, author in authors:
        _check_domain(name, author.domain)
    return authors, recipients_named(header)


def recipients_named(header: Header) -> Named:
    """Whom To and Cc name. Raises BadContent for a domain that is not fully qualified (RFC 6409 section 4.2).

    All fields of addresses are looked at. What cannot be read is passed over, and so is a name alone, which has no domain.
    """
    keys = {name: _checked_keys(header, name) for name in _ADDRESS_FIELDS}
    return Named(keys["To"] | keys["Resent-To"], keys["Cc"] | keys["Resent-Cc"])


def senders(header: Header) -> list[tuple[str, Address]]:
    """Whom the message says it is from: ("From", address) for each author, then ("Sender", address).

    Empty when it has neither field. Raises BadContent when a field is there twice, is empty, has a group, or cannot
    be read for sure; twice because readers differ in which one they show (RFC 5322 section 3.6: at most one).
    """
    authors = [("From", author) for author in _only(header, "From")]
    agents = [("Sender", agent) for agent in _only(header, "Sender")]
    if len(agents) > 1:
        raise BadContent("the Sender field has more than one address")
    return authors + agents


def classify(named_in: Named, recipients: Sequence[Address]) -> list[Placement]:
    """Where the header names each recipient, in their order; nowhere means "bcc". To wins over Cc."""
    to, cc = named_in.to, named_in.cc
    return ["to" if key in to else "cc" if key in cc else "bcc" for key in [each.key for each in recipients]]


def rewrite(header: Header, *, trace: Trace, date: float, message_id: str, login: str) -> bytes:
    """The header block as it is queued. `date` is in seconds since the epoch.

    `message_id` is the part before the "@", unique here.
    Raises BadContent when there is no From field and the login, not being an address, cannot make one.
    """
    written = _date(int(date))
    fields = [_received(trace, written), header.without(b"bcc", b"resent-bcc")]
    if not header.all(b"date"):
        fields.append(f"Date: {written}\r\n".encode("ascii"))
    if not header.all(b"message-id"):
        fields.append(f"Message-ID: <{message_id}@{trace.hostname}>\r\n".encode())
    if not header.all(b"from"):
        fields.append(_from(login))
    return b"".join(fields)


@lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    """Thousands of messages may come within a second."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def _only(header: Header, name: str) -> list[Address]:
    """The addresses of a field that may be there once; none when it is not there."""
    values = header.all(name.lower().encode("ascii"))
    if len(values) > 1:
        raise BadContent(f"more than one {name} field")
    return _addresses(values[0], name) if values else []


def _addresses(value: bytes, name: str) -> list[Address]:
    try:
        found = mailboxes(value, groups=False)
    except BadContent as bad:
        raise BadContent(f"the {name} field has {bad.reason}") from None
    if not found:
        raise BadContent(f"the {name} field has no address")
    return found


def _checked_keys(header: Header, name: str) -> set[str]:
    values = header.all(name.lower().encode("ascii"))
    keys = named(*values) if values else set()
    for key in keys:
        _check_domain(name, key.rpartition("@")[2])
    return keys


def _check_domain(name: str, domain: str) -> None:
    flaw = address.domain_flaw(domain)
    if flaw is not None:
        raise BadContent(f"the {name} field has an address whose domain is {_FLAWS[flaw]}")


def _from(login: str) -> bytes:
    try:
        author = address.parse(login)
    except address.AddressError:
        raise BadContent("a From field is missing") from None
    _check_domain("missing From", author.domain)
    return f"From: {author}\r\n".encode()


def _received(trace: Trace, date: str) -> bytes:
    """RFC 5321 section 4.4, without `for`: it would show blind recipients.

    A hidden client's EHLO name is left out with its address, for it often is the name of its machine or its address.
    """
    tls = f"\r\n\ttls {trace.tls}" if trace.tls else ""  # RFC 8314 section 4.3
    clauses = [f"by {trace.hostname} with {trace.protocol}", f"id {trace.queue_id}{tls}; {date}"]
    if trace.client is not None:
        clauses.insert(0, _client(trace.helo, trace.client))
    return ("Received: " + "\r\n\t".join(clauses) + "\r\n").encode()


def _client(helo: str, client: str) -> str:
    """The from clause: the name is the peer's, so only what a host name or a literal can have is kept of it."""
    literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
    name = _NOT_IN_HELO.sub("", helo)[:MAX_HELO]
    return f"from {name} ({literal})" if name else f"from {literal}"
