"""Reports to a sender about what became of a message (delivery status notifications).

RFC 3464 in the multipart/report of RFC 6522, internationalised by RFC 6533. The first part is for people: which
address, what the other side said, what to do. All parts but a returned 8-bit message are 7-bit, for a report that
a next hop refuses is a sender who never hears. Only the recipients given are named, so the caller makes a report
of its own for each blind one.
"""

import re
import textwrap
import unicodedata
from binascii import b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from gateway.xtext import decoded

MAX_DIAGNOSTIC = 512  # characters of a next hop's words
MAX_ORIGINAL = 500  # characters of ORCPT, ENVID and a remote server's name

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # RFC 3463 section 2


class Action(StrEnum):
    """RFC 3464 section 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"  # handed to a server that makes no further reports
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one recipient; `code`, `enhanced`, `text` and `remote` are the next hop's words, not to be trusted."""

    address: str
    code: int  # 0: no reply came
    enhanced: str  # "" when it gave none
    text: str
    remote: str = ""  # the name of the server that answered
    orcpt: str = ""  # as the client gave it: "rfc822;xtext", or ""
    last_attempt: datetime | None = None  # aware


@dataclass(frozen=True, slots=True)
class Original:
    """The message a report is about. `header` is the prepared one, without Bcc, with its empty line."""

    sender: str  # to whom the report goes; never ""
    envid: str  # xtext, or ""
    ret: str  # "FULL", "HDRS" or ""
    arrived: datetime  # aware
    header: bytes = field(repr=False)
    body: bytes | None = field(repr=False, default=None)  # None: not to be returned


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the report, with the encoding it needs on the way."""

    content_type: str
    content: bytes
    encoding: str = "7bit"

    def encode(self) -> bytes:
        head = f"Content-Type: {self.content_type}\r\nContent-Transfer-Encoding: {self.encoding}\r\n\r\n"
        return head.encode("ascii") + self.content


def report(
    action: Action,
    fates: Sequence[Fate],
    original: Original,
    *,
    hostname: str,
    report_id: str,
    date: datetime,
    retry_until: datetime | None = None,
) -> tuple[bytes, bytes]:
    """A report as (header with its empty line, body). `retry_until` is when a delayed message will be given up.

    `report_id` (letters and digits) names the report in Message-ID and boundary. Times are aware.
    """
    status = _status_part(action, fates, original, hostname, retry_until)
    parts = [_text_part(action, fates, original, hostname, retry_until), status, _returned_part(action, fates, original)]
    boundary = _boundary(report_id, parts)
    kind = "global-delivery-status" if "global" in status.content_type else "delivery-status"
    eight_bit = any(part.encoding == "8bit" for part in parts)
    lines = [
        *_first_lines(_SUBJECTS[action], original, hostname, report_id, date),
        f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"',
        f"Content-Transfer-Encoding: {'8bit' if eight_bit else '7bit'}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8"), _multipart(boundary, parts)


def summary(count: int, original: Original, *, hostname: str, report_id: str, date: datetime) -> tuple[bytes, bytes]:
    """The last report on a message's failed blind recipients: how many more failed than got a report each.

    It names none of them, so it has no part for machines. Arguments and answer as those of `report`.
    """
    recipients = "1 more blind recipient" if count == 1 else f"{count} more blind recipients"
    text = "\n\n".join(
        _wrapped(paragraph)
        for paragraph in (
            f"This is the mail server at {hostname}.",
            f"Your message of {format_datetime(original.arrived)} could not be delivered to {recipients} (Bcc).",
            "You got a report of its own for each of the first ones. The log of this server has all of them: ask its operator.",
            "The message will not be tried again. Its header is attached, so that you can recognise it.",
        )
    )
    readable = _readable("text/plain; charset=utf-8", f"{text}\n".replace("\n", "\r\n").encode("utf-8"))
    parts = [readable, _returned_part(Action.FAILED, (), original)]
    boundary = _boundary(report_id, parts)
    lines = _first_lines(_SUBJECTS[Action.FAILED], original, hostname, report_id, date)
    lines += [f'Content-Type: multipart/mixed;\r\n\tboundary="{boundary}"', "Content-Transfer-Encoding: 7bit"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8"), _multipart(boundary, parts)


def _first_lines(subject: str, original: Original, hostname: str, report_id: str, date: datetime) -> list[str]:
    return [
        f'From: "Mail Delivery System" <MAILER-DAEMON@{hostname}>',
        f"To: <{original.sender}>",
        f"Subject: {subject}",
        f"Date: {format_datetime(date)}",
        f"Message-ID: <{report_id}@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
    ]


def _multipart(boundary: str, parts: Sequence[_Part]) -> bytes:
    delimiter = f"--{boundary}".encode("ascii")
    return b"".join(delimiter + b"\r\n" + part.encode() + b"\r\n" for part in parts) + delimiter + b"--\r\n"


def status_code(code: int, enhanced: str) -> str:
    """The status of RFC 3463 for a reply; without a usable enhanced code the reply code's class says it.

    `code` 0 (no reply at all) is 4.4.1, no answer from host.
    """
    if _STATUS.fullmatch(enhanced):
        return enhanced
    return f"{code // 100}.0.0" if code // 100 in (2, 4, 5) else "4.4.1"


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.RELAYED: "Your message was handed on",
    Action.DELIVERED: "Your message was delivered",
}

_OPENINGS = {
    Action.FAILED: "Your message of {arrived} could not be delivered to:",
    Action.DELAYED: "Your message of {arrived} is still on its way to:",
    Action.RELAYED: "Your message of {arrived} was handed on to the next mail server for:",
    Action.DELIVERED: "Your message of {arrived} was delivered to:",
}

_CLOSINGS = {
    Action.FAILED: "The message will not be tried again. It or its header is attached, so that you can recognise it.",
    Action.DELAYED: "You need not send it again. We keep trying{until} and will tell you if we have to give up.",
    Action.RELAYED: "You will get no further notice: that server makes no reports about delivery.",
    Action.DELIVERED: "You asked for this notice.",
}

# What a sender can do, by how the status of a failure begins (RFC 3463 section 3); the longest match counts.
_ADVICE = {
    "5.1": "Check the spelling of the address, then send the message again.",
    "5.1.8": "The other side does not accept your sender address. Ask your provider for help.",
    "5.2": "The recipient's mailbox takes no mail. Reach the recipient in another way.",
    "5.2.2": "The recipient's mailbox is full. Reach the recipient in another way, or try again later.",
    "5.2.3": "The message is too large for the recipient. Send it with smaller attachments.",
    "5.3.4": "The message is too large for the other side. Send it with smaller attachments.",
    "5.4": "The other side's mail server cannot be found. Check what stands after the @ in the address.",
    "5.6.3": "Send it again as plain text, without accents and the like, or ask your provider for help.",
    "5.6.7": "Reach the recipient in another way, or under an address of plain letters (a to z) if there is one.",
    "5.6.9": "Send it again with a subject, names and addresses in plain letters (a to z).",
    "5.7": "The other side's rules refuse the message. Reach the recipient in another way and tell them so.",
    "4": "We tried for a long time without success. Try again later, or reach the recipient in another way.",
    "5": "Pass the answer above on to the recipient or to your provider; it says why.",
}


def _text_part(action: Action, fates: Sequence[Fate], original: Original, hostname: str, retry_until: datetime | None) -> _Part:
    until = f" until {format_datetime(retry_until)}" if retry_until else ""
    paragraphs = [
        f"This is the mail system at {hostname}.",
        _OPENINGS[action].format(arrived=format_datetime(original.arrived)),
        *(paragraph for fate in fates for paragraph in _told(action, fate)),
        _CLOSINGS[action].format(until=until),
    ]
    text = "\n\n".join(_wrapped(paragraph) for paragraph in paragraphs) + "\n"
    return _readable("text/plain; charset=utf-8", text.replace("\n", "\r\n").encode("utf-8"))


def _told(action: Action, fate: Fate) -> list[str]:
    """The paragraphs about one recipient; those that begin with spaces are quotations."""
    said = [f"    {fate.address}"]
    if action in (Action.FAILED, Action.DELAYED):
        server = _clean(fate.remote, MAX_ORIGINAL)
        said.append(f"The mail server {server} answered:" if server and fate.code else "The reason:")
        said.append(f"    {_diagnostic(fate) or 'no answer'}")
    if action is Action.FAILED:
        status = status_code(fate.code, fate.enhanced)
        said.append(_ADVICE[max((start for start in _ADVICE if f"{status}.".startswith(f"{start}.")), key=len, default="5")])
    return said


def _wrapped(paragraph: str) -> str:
    indent = "    " if paragraph.startswith(" ") else ""
    wrapped = textwrap.wrap(
        paragraph.strip(), 76, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapped)


def _status_part(
    action: Action, fates: Sequence[Fate], original: Original, hostname: str, retry_until: datetime | None
) -> _Part:
    """The machine's part: a block about the message, then one for each recipient (RFC 3464 section 2)."""
    # Addresses beyond ASCII are what makes it message/global-delivery-status; other words can do without their accents.
    utf8 = not all(fate.address.isascii() and decoded(fate.orcpt).isascii() for fate in fates)
    message = [f"Reporting-MTA: dns; {hostname}", f"Arrival-Date: {format_datetime(original.arrived)}"]
    if original.envid:
        message.insert(0, f"Original-Envelope-Id: {_clean(decoded(original.envid), MAX_ORIGINAL)}")
    blocks = [message, *(_recipient_block(action, fate, retry_until) for fate in fates)]
    content = "\r\n".join("".join(_folded(line) for line in block) for block in blocks)
    if utf8:
        return _readable("message/global-delivery-status", content.encode("utf-8"))
    return _Part("message/delivery-status", content.encode("ascii", "replace"))


def _recipient_block(action: Action, fate: Fate, retry_until: datetime | None) -> list[str]:
    lines = [
        f"Final-Recipient: {'rfc822' if fate.address.isascii() else 'utf-8'}; {fate.address}",
        f"Action: {action}",
        f"Status: {status_code(fate.code, fate.enhanced)}",
    ]
    kind, _, original = fate.orcpt.partition(";")
    if original:
        lines.insert(0, f"Original-Recipient: {_clean(kind, 40)}; {_clean(decoded(original), MAX_ORIGINAL)}")
    if fate.remote:
        lines.append(f"Remote-MTA: dns; {_clean(fate.remote, MAX_ORIGINAL)}")
    if fate.code:
        lines.append(f"Diagnostic-Code: smtp; {_diagnostic(fate)}")
    if fate.last_attempt:
        lines.append(f"Last-Attempt-Date: {format_datetime(fate.last_attempt)}")
    if retry_until and action is Action.DELAYED:
        lines.append(f"Will-Retry-Until: {format_datetime(retry_until)}")
    return lines


def _folded(line: str) -> str:
    wrapped = textwrap.wrap(line, 76, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False)
    return "\r\n".join(wrapped) + "\r\n"


def _returned_part(action: Action, fates: Sequence[Fate], original: Original) -> _Part:
    """The message itself when RET asks for it and it failed, else its header (RFC 3461 section 4.3)."""
    utf8 = not original.header.isascii() and _is_utf8(original.header)
    # A hop that takes no 8-bit message (5.6.3) would not take it inside a report either.
    whole = action is Action.FAILED and original.ret == "FULL" and all(fate.enhanced != "5.6.3" for fate in fates)
    if whole and original.body is not None:
        content = original.header + original.body
        return _Part("message/global" if utf8 else "message/rfc822", content, "7bit" if content.isascii() else "8bit")
    kind = "message/global-headers" if utf8 else "text/rfc822-headers"
    return _readable(kind, original.header.removesuffix(b"\r\n"))


def _readable(content_type: str, content: bytes) -> _Part:
    """A part that stays as it is when that is safe, and else travels as quoted-printable, which RFC 6533 allows."""
    if content.isascii() and max(map(len, content.split(b"\r\n"))) <= 998:
        return _Part(content_type, content)
    return _Part(content_type, b2a_qp(content, istext=True), "quoted-printable")


def _boundary(report_id: str, parts: Sequence[_Part]) -> str:
    """A boundary that is in no part, whoever wrote the message."""
    boundary = f"=_{report_id}"
    while any(boundary.encode("ascii") in part.content for part in parts):
        boundary += "_"
    return boundary


def _diagnostic(fate: Fate) -> str:
    """The next hop's reply on one line; without a code, the reason in our own words."""
    return _clean(f"{fate.code} {fate.enhanced} {fate.text}" if fate.code else fate.text, MAX_DIAGNOSTIC)


def _clean(text: str, limit: int) -> str:
    """Somebody else's words on one line: whatever could break it, hide in it or turn it round becomes a space."""
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * limit])
    return " ".join(visible.split())[:limit]


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
