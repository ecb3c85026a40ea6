"""One mail transaction with a next hop as values: what we ask for, the commands it takes, and what each reply means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway import address
from gateway.reply import Reply
from gateway.smtp.reply_reader import MAX_TEXT, ProtocolError

Extensions = Mapping[str, str]  # keyword in upper case to its parameters, from the answer to EHLO


@dataclass(frozen=True, slots=True)
class To:
    """One recipient. `notify` and `orcpt` as in RFC 3461, "" when not given."""

    address: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """An envelope. `sender` "" is the null sender; `size` in octets, with CRLF and before dot-stuffing."""

    sender: str
    recipients: tuple[To, ...]
    size: int
    eight_bit: bool = False
    smtputf8: bool = False
    utf8_header: bool = False  # fields that only SMTPUTF8 may carry (RFC 6531 section 3.6)
    ret: str = ""
    envid: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one recipient. `code` 0: no reply of the hop decided it."""

    result: Literal["delivered", "retry", "failed"]
    code: int
    enhanced: str
    text: str
    relayed_dsn: bool = False  # the hop took over NOTIFY

    @property
    def too_many(self) -> bool:
        """Whether the hop wants this one in another transaction (RFC 5321 section 4.5.3.1.10; 4.5.3 in RFC 3463)."""
        return self.result == "retry" and (self.enhanced == "4.5.3" or (self.code == 452 and not self.enhanced))


_NO_8BITMIME = Verdict("failed", 0, "5.6.3", "The message has 8-bit content and the next hop takes 7-bit only")
_NO_UTF8_ADDRESS = Verdict("failed", 0, "5.6.7", "The next hop takes no addresses with letters beyond ASCII (SMTPUTF8)")
_NO_UTF8_HEADER = Verdict("failed", 0, "5.6.9", "The next hop takes no header with letters beyond ASCII (SMTPUTF8)")

# RFC 9422 section 3: limits-value = "LIMITS" *( SP limit-name "=" limit-value ); unknown and odd ones are passed over
_LIMIT = re.compile(r"([A-Z0-9]+)=([1-9][0-9]{0,5})")


def refusals(transaction: Transaction, extensions: Extensions) -> list[Verdict | None]:
    """For each recipient, why this hop cannot be asked at all; None where it can.

    RFC 6152 section 3 (8BITMIME), RFC 1870 section 6.1 (SIZE), RFC 6531 sections 3.1 and 3.5 (SMTPUTF8). That is final: the
    next hops of a list stand in for one another, and none of them is asked to take what another will not.
    """
    count = len(transaction.recipients)
    limit = extensions.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < transaction.size:
        text = f"The message of {transaction.size} octets is larger than the next hop's limit of {int(limit)}"
        return [Verdict("failed", 0, "5.3.4", text)] * count
    without_utf8 = "SMTPUTF8" not in extensions
    if without_utf8 and not _in_ascii(transaction.sender).isascii():
        return [_NO_UTF8_ADDRESS] * count
    if without_utf8 and transaction.utf8_header:
        return [_NO_UTF8_HEADER] * count
    if transaction.eight_bit and "8BITMIME" not in extensions:
        return [_NO_8BITMIME] * count
    return [_NO_UTF8_ADDRESS if without_utf8 and not _in_ascii(to.address).isascii() else None for to in transaction.recipients]


def _in_ascii(text: str) -> str:
    """The address as a hop without SMTPUTF8 takes it: its domain in A-labels, when its local part is ASCII (RFC 6531, 3.2)."""
    local, at, domain = text.rpartition("@")
    if text.isascii() or not local.isascii():
        return text
    try:
        return f"{local}{at}{address.parse(f'x@{domain}').domain_key}"
    except address.AddressError:
        return text


def limit(extensions: Extensions, name: str) -> int | None:
    """RCPTMAX or MAILMAX as the hop has declared it (RFC 9422), None when it has not."""
    words = extensions.get("LIMITS", "").upper().split()
    return next((int(found[2]) for word in words if (found := _LIMIT.fullmatch(word)) and found[1] == name), None)


def mail_command(transaction: Transaction, extensions: Extensions) -> str:
    """MAIL with those parameters that the hop offers (RFC 5321 section 4.1.1.2, RFC 3461 section 4)."""
    words = [f"MAIL FROM:<{transaction.sender if 'SMTPUTF8' in extensions else _in_ascii(transaction.sender)}>"]
    if "SIZE" in extensions:
        words.append(f"SIZE={transaction.size}")
    if transaction.eight_bit and "8BITMIME" in extensions:
        words.append("BODY=8BITMIME")
    if transaction.smtputf8 and "SMTPUTF8" in extensions:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        words += [f"{key}={value}" for key, value in (("RET", transaction.ret), ("ENVID", transaction.envid)) if value]
    return " ".join(words)


def rcpt_command(to: To, extensions: Extensions) -> str:
    """RCPT with NOTIFY and ORCPT where the hop offers DSN (RFC 3461 sections 4.1 and 4.2)."""
    words = [f"RCPT TO:<{to.address if 'SMTPUTF8' in extensions else _in_ascii(to.address)}>"]
    if "DSN" in extensions:
        orcpt = to.orcpt if "SMTPUTF8" in extensions else _ascii_orcpt(to.orcpt)
        words += [f"{key}={value}" for key, value in (("NOTIFY", to.notify), ("ORCPT", orcpt)) if value]
    return " ".join(words)


def _ascii_orcpt(orcpt: str) -> str:
    """The same in ASCII, as RFC 6533 section 3 writes it for a hop without SMTPUTF8 (utf-8-addr-xtext)."""
    return "".join(letter if letter.isascii() else f"\\x{{{ord(letter):X}}}" for letter in orcpt)


def verdict(reply: Reply) -> Verdict:
    """What a refusing reply means. Raises ProtocolError for 2xx and 3xx, which refuse nothing."""
    if reply.code < 400:
        raise ProtocolError(f"{reply.code} out of place")
    return Verdict("retry" if reply.code < 500 else "failed", reply.code, reply.enhanced, reply.text[:MAX_TEXT])


def rcpt_verdict(reply: Reply) -> Verdict:
    """As `verdict`; 552 to RCPT is read as 452, too many recipients (RFC 5321 section 4.5.3.1.10)."""
    if reply.code == 552:
        enhanced = reply.enhanced and f"4{reply.enhanced[1:]}"
        return verdict(Reply(452, enhanced, reply.lines))
    return verdict(reply)


def delivered(reply: Reply, extensions: Extensions) -> Verdict:
    return Verdict("delivered", reply.code, reply.enhanced, reply.text[:MAX_TEXT], "DSN" in extensions)
