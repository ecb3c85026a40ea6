"""The grammar of SMTP commands: a regular expression beside each rule, and nothing else that splits a line.

RFC 5321 section 4.1.2 with RFC 1870 (SIZE), 3030 (BDAT), 3461 (DSN), 4954 (AUTH), 6152 (BODY) and 6531 (SMTPUTF8).
"""

import re
from typing import NamedTuple

from gateway import address, reply, xtext
from gateway.address import Address, AddressError
from gateway.errors import Refused
from gateway.smtp.events import MailFrom, RcptTo

# command = verb *( SP argument )
_COMMAND = re.compile(rb"([A-Za-z]{1,12})(?: +(.*))?", re.DOTALL)
# A header line of HTTP or of mail: whoever sends it is not, or no longer, speaking SMTP
_HEADER_LINE = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,60}:")
# ehlo = "EHLO" SP ( Domain / address-literal ); real clients send whatever their host is called, in whatever letters
_HELLO = re.compile(r"[!-~\ufffd]{1,255}")
# Path = "<" [ A-d-l ":" ] Mailbox ">"; a source route is read over (section 4.1.2, appendix C), never without a mailbox
_PATH = re.compile(r'<(?:@[^\s<>":]*:(?!>))?((?:"(?:[^"\\]|\\.)*"|[^"<>\s])*)>')
# A mailbox without the brackets, which scripts and devices send and other servers take
_BARE_PATH = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^"<>\s])+)')
# esmtp-param = esmtp-keyword ["=" esmtp-value]
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
# size-value = 1*20DIGIT, RFC 1870 section 4; chunk-size likewise, RFC 3030
_NUMBER = re.compile(r"[0-9]{1,20}")
# xtext = *( xchar / hexchar ), RFC 3461 section 4
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
# original-recipient-address = addr-type ";" xtext; "utf-8" may hold other letters (RFC 6533 section 3)
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};(?P<address>[^\x00-\x20\x7f]+)")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}")
# auth-command = "AUTH" SP sasl-mech [SP initial-response]
_AUTH = re.compile(rb"([A-Za-z0-9_-]{1,20})(?: +([A-Za-z0-9+/=*]+))?")
_BDAT = re.compile(rb"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)


class Command(NamedTuple):  # made for each line: a third of what a frozen dataclass costs
    verb: str  # in capitals
    argument: bytes


def command(line: bytes) -> Command:
    """Raises Refused(BAD_COMMAND) for what has no verb."""
    match = _COMMAND.fullmatch(line.rstrip(b" "))  # trailing white space is common and harmless
    if match is None:
        if line[:4].upper() == b"BDAT":  # we do not know how much to read over
            raise Refused(reply.BAD_CHUNK_SIZE)
        raise Refused(reply.NOT_SMTP if _HEADER_LINE.match(line) else reply.BAD_COMMAND)
    return Command(match[1].decode("ascii").upper(), match[2] or b"")


def hello(argument: bytes) -> str:
    """The name a client gives itself. Raises Refused."""
    name = argument.decode("ascii", "replace")
    if not _HELLO.fullmatch(name):
        raise Refused(reply.BAD_SYNTAX)
    return name


def auth(argument: bytes) -> tuple[str, bytes | None]:
    """Mechanism in capitals, and the initial response still in base64. Raises Refused."""
    match = _AUTH.fullmatch(argument)
    if match is None:
        raise Refused(reply.BAD_SYNTAX)
    return match[1].decode("ascii").upper(), match[2]


def bdat(argument: bytes) -> tuple[int, bool]:
    """Chunk size in octets, and whether it is the last. Raises Refused with a reply that closes: we cannot stay in step."""
    match = _BDAT.fullmatch(argument)
    if match is None:
        raise Refused(reply.BAD_CHUNK_SIZE)
    return int(match[1]), match[2] is not None


def mail(argument: bytes) -> MailFrom:
    """mail = "MAIL FROM:" Reverse-path [SP Mail-parameters]. Raises Refused."""
    path, parameters = _path_and_parameters("FROM:", argument, reply.BAD_SENDER)
    values = {name: _mail_parameter(name, value) for name, value in parameters.items()}
    sender = _address(path, "SMTPUTF8" in values, reply.BAD_SENDER) if path else None
    size = values.get("SIZE")
    return MailFrom(
        sender,
        size=int(size) if size is not None else None,
        eight_bit=values.get("BODY") == "8BITMIME",
        smtputf8="SMTPUTF8" in values,
        ret=values.get("RET", ""),
        envid=values.get("ENVID", ""),
    )


def rcpt(argument: bytes, smtputf8: bool) -> RcptTo:
    """rcpt = "RCPT TO:" Forward-path [SP Rcpt-parameters]. Raises Refused."""
    path, parameters = _path_and_parameters("TO:", argument, reply.BAD_RECIPIENT)
    if not smtputf8 and not "".join(parameters.values()).isascii():  # "utf-8;" has an ASCII form for that (RFC 6533)
        raise Refused(reply.BAD_SYNTAX)
    values = {name: _rcpt_parameter(name, value) for name, value in parameters.items()}
    # "Postmaster" alone is this server's (RFC 5321 section 4.5.1): an address without a domain
    bare = path.lower() == "postmaster"
    recipient = Address("postmaster", "") if bare else _address(path, smtputf8, reply.BAD_RECIPIENT)
    return RcptTo(recipient, notify=values.get("NOTIFY", ""), orcpt=values.get("ORCPT", ""))


def _path_and_parameters(keyword: str, argument: bytes, bad: reply.Reply) -> tuple[str, dict[str, str]]:
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(bad) from None
    if text[: len(keyword)].upper() != keyword:
        raise Refused(reply.BAD_SYNTAX)
    rest = text[len(keyword) :].lstrip(" ")  # many clients put a space after the colon
    match = _PATH.match(rest) or _BARE_PATH.match(rest)
    if match is None or rest[match.end() : match.end() + 1] not in ("", " "):
        raise Refused(bad)
    return match[1], _parameters(rest[match.end() :])


def _parameters(text: str) -> dict[str, str]:
    """Keyword in capitals to value ("" without one). A keyword given twice has no meaning: 501."""
    values: dict[str, str] = {}
    for word in filter(None, text.split(" ")):
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in values:
            raise Refused(reply.BAD_SYNTAX)
        values[match[1].upper()] = match[2] or ""
    return values


def _address(text: str, smtputf8: bool, bad: reply.Reply) -> Address:
    try:
        parsed = address.parse(text)
    except AddressError:
        raise Refused(bad) from None
    if parsed.needs_utf8 and not smtputf8:
        raise Refused(reply.NEEDS_SMTPUTF8)
    return parsed


def _mail_parameter(name: str, value: str) -> str:
    """The value in its normal form. Raises Refused: 501 for a bad value, 555 for what we do not know."""
    upper = value.upper()
    match name:
        case "SIZE":
            return _checked(value, _NUMBER.fullmatch(value) is not None)
        case "BODY":
            if upper == "BINARYMIME":  # RFC 3030: known, and not offered
                raise Refused(reply.UNKNOWN_PARAMETER)
            return _checked(upper, upper in ("7BIT", "8BITMIME"))
        case "SMTPUTF8":
            return _checked(value, value == "")
        case "RET":
            return _checked(upper, upper in ("FULL", "HDRS"))
        case "ENVID":
            return _checked(
                value, 0 < len(value) <= 100 and _XTEXT.fullmatch(value) is not None and xtext.is_printable_ascii(value)
            )
        case "AUTH":  # accepted and left aside: the sign-in of this session is what counts (RFC 4954 section 5)
            return _checked(value, value != "" and (value == "<>" or _XTEXT.fullmatch(value) is not None))
        case _:
            raise Refused(reply.UNKNOWN_PARAMETER)


def _rcpt_parameter(name: str, value: str) -> str:
    upper = value.upper()
    match name:
        case "NOTIFY":
            return _checked(upper, _NOTIFY.fullmatch(upper) is not None)
        case "ORCPT":
            return _checked(value, len(value) <= 500 and _is_orcpt(value))
        case _:
            raise Refused(reply.UNKNOWN_PARAMETER)


def _is_orcpt(value: str) -> bool:
    match = _ORCPT.fullmatch(value)
    if match is None:
        return False
    if value.lower().startswith("utf-8;"):
        return xtext.is_printable_utf8(match["address"])
    return _XTEXT.fullmatch(match["address"]) is not None and xtext.is_printable_ascii(match["address"])


def _checked(value: str, good: bool) -> str:
    if not good:
        raise Refused(reply.BAD_SYNTAX)
    return value
