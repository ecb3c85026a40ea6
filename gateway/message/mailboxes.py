"""Address lists of the header (From, Sender, To, Cc ...): which mailboxes a value names.

RFC 5322 section 3.4 with its obsolete forms (section 4.4) and UTF-8 (RFC 6532), in time that is linear in the value.
It comes as members (`tokens.py`), and a member is a mailbox or a group's name. There are two readers of members.
`mailboxes` is for rules: whatever two programs could read in two ways is refused (CVE-2023-27043 came from guessing).
`named` is for telling recipients apart: it takes what it can. Both leave the plain form to `plain.py`.
"""

import re
from collections.abc import Iterator
from contextlib import suppress

from gateway import address
from gateway.address import Address
from gateway.message import misreadings, plain
from gateway.message.header import BadContent, unfolded
from gateway.message.misreadings import ENCODED_WORD
from gateway.message.tokens import Part, members, stripped

MAX_MEMBERS = 1000  # mailboxes and groups that `mailboxes` reads; nobody writes in the name of so many
# Addresses whose domain is not ASCII, or has A-labels: reading one can take a millisecond (RFC 5892, appendix A)
MAX_INTERNATIONAL = 50

_HOP = re.compile(r"@[A-Za-z0-9-]++(?>(?:\.[A-Za-z0-9-]++)*)")
_ADDRESS_KINDS = frozenset({"word", "quoted", "literal"})
_PHRASE_KINDS = frozenset({"word", "quoted", "space", "comment"})
# No program agrees with another on these: controls, and what Python takes for line ends.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
# What begins or ends a quoted string or a comment, and line breaks
_HIDING_MARK = re.compile(rb'\\.|["()]|\r\n', re.DOTALL)
# What some take for an encoded word, and others read on in
_PERHAPS_ENCODED = re.compile(r"=\?[^?]*+\?[^?]*+\?[^?]*+\?=")


def mailboxes(value: bytes, *, groups: bool = True) -> list[Address]:
    """Every mailbox of the value, those inside groups included; all of it has to be understood.

    Raises BadContent, with a reason that completes "the From field has ...": also for groups when `groups` is False.
    """
    spec = plain.mailbox(value)
    return [address.parse(spec)] if spec else mailboxes_of_any_form(value, groups=groups)


def mailboxes_of_any_form(value: bytes, *, groups: bool = True) -> list[Address]:
    text = _decoded(value)
    found: list[Address] = []
    in_group = after_group = False
    international = 0
    for count, member in enumerate(members(text), start=1):
        parts = stripped(member.parts)
        if count > MAX_MEMBERS:
            raise BadContent("too many addresses")
        if not member.readable or (after_group and parts):
            raise BadContent("an address that cannot be read")
        if member.end == ":":
            _check_group(parts, allowed=groups and not in_group)
            in_group = True
            continue
        if parts:
            found.append(_mailbox(parts))
            international += _is_international(str(found[-1]))
            if international > MAX_INTERNATIONAL:
                raise BadContent("too many international addresses")
        after_group = member.end == ";"
        if after_group and not in_group:
            raise BadContent('a ";" outside a group')
        in_group = in_group and not after_group
    if in_group:
        raise BadContent("a group without its end")
    misreadings.check(text, {str(each) for each in found})
    return found


def named(*values: bytes) -> set[str]:
    """The `Address.key` of each mailbox that can be found in the values; the rest is passed over.

    What is one only for those who read an encoded word as it stands, or only for those who decode it first, is none.
    """
    keys: set[str] = set()
    others = []
    for value in map(unfolded, values):
        found = plain.keys(value)
        if found is None:
            others.append(value)
        else:
            keys |= found
    return keys | named_in_any_form(*others) if others else keys


def named_in_any_form(*values: bytes) -> set[str]:
    specs: dict[str, None] = {}
    for value in values:
        text = unfolded(value).decode("utf-8", "surrogateescape")
        found = dict.fromkeys(_specs(text))
        if "=?" in text:
            decoded = set(_specs(_PERHAPS_ENCODED.sub("x", text)))
            found = {spec: None for spec in found if spec in decoded}
        specs |= found
    international = list(filter(_is_international, specs))
    return set(map(_key, specs.keys() - set(international[MAX_INTERNATIONAL:]))) - {""}


def _specs(text: str) -> Iterator[str]:
    for member in members(text):
        if member.readable and member.parts and member.end != ":":
            with suppress(BadContent):
                yield _spec(stripped(member.parts))


def _is_international(spec: str) -> bool:
    """Whether its domain is not ASCII, or hides that in A-labels."""
    domain = spec.rpartition("@")[2]
    return not domain.isascii() or "xn--" in domain.lower()


def _key(spec: str) -> str:
    try:
        return address.parse(spec).key
    except address.AddressError:
        return ""


def _decoded(value: bytes) -> str:
    if b"\\\r\n" in value:
        raise BadContent("a backslash at the end of a line")
    if value.count(b"@") > 1 and _breaks_inside(value):
        raise BadContent("a line break inside quotes or a comment")  # some programs end the field there
    try:
        text = unfolded(value).decode("utf-8")
    except UnicodeDecodeError:  # in another charset, half of a letter can be a bracket
        raise BadContent("characters that are neither ASCII nor UTF-8") from None
    if _CONTROL.search(text):
        raise BadContent("control characters")
    if "=?" in ENCODED_WORD.sub("", text):
        raise BadContent("a damaged encoded word")
    return text


def _breaks_inside(value: bytes) -> bool:
    """Whether a line break stands inside a quoted string or a comment."""
    quoted, depth = False, 0
    for mark in _HIDING_MARK.finditer(value.strip()):
        if mark[0] == b"\r\n":
            if quoted or depth:
                return True
        elif mark[0] == b'"':
            quoted = not quoted and not depth
        elif not quoted:
            depth += (mark[0] == b"(") - (mark[0] == b")" and depth > 0)
    return False


def _check_group(name: list[Part], *, allowed: bool) -> None:
    """group = display-name ":" [group-list] ";" (RFC 5322 section 3.4)"""
    if not allowed:
        raise BadContent("a group of addresses")
    if not name or not _is_phrase(name):
        raise BadContent("an address that cannot be read")


def _is_phrase(parts: list[Part]) -> bool:
    """A display name, or none. One with a bare "@" is refused: `a@x.example <b@y.example>` is read in two ways."""
    # obs-phrase begins with a word, and Python's parser stumbles over a dot that does not follow an atom
    before = ""
    for kind, text in parts:
        if text.startswith(".") and before != "word":
            return False
        before = kind if kind != "word" or not ENCODED_WORD.fullmatch(text) else "encoded"
    return all(kind in _PHRASE_KINDS and (kind != "word" or "@" not in text) for kind, text in parts)


def _mailbox(parts: list[Part]) -> Address:
    try:
        spec = address.parse(_spec(parts))
    except address.AddressError:
        raise BadContent("an address that is not valid") from None
    opening = parts.index(("mark", "<")) if parts[-1] == ("mark", ">") else 0
    phrase = stripped(parts[:opening])
    # Scripts write `a@x.example <a@x.example>`: there is one way to read that.
    if not _is_phrase(phrase) and _joined(phrase) != str(spec):
        raise BadContent("a display name that cannot be read")
    return spec


def _spec(parts: list[Part]) -> str:
    """The text of the addr-spec in mailbox = name-addr / addr-spec."""
    if not parts or parts[-1] != ("mark", ">"):
        return _joined(parts)
    inside = parts[parts.index(("mark", "<")) + 1 : -1] if ("mark", "<") in parts else []
    if ("mark", ":") in inside:
        colon = inside.index(("mark", ":"))
        _check_route(inside[:colon])
        inside = inside[colon + 1 :]
    return _joined([part for i, part in enumerate(inside) if part[0] != "space" or 0 < i < len(inside) - 1])


def _check_route(parts: list[Part]) -> None:
    """obs-route = "@" domain *("," "@" domain) ":", less the comments and gaps that section 4.4 of RFC 5322 allows"""
    steps = [part for part in parts if part[0] != "space"]
    commas = all(kind == "comma" for kind, _ in steps[1::2])
    if len(steps) % 2 == 0 or not commas or not all(_HOP.fullmatch(text) for _, text in steps[::2]):
        raise BadContent("an address that cannot be read")


def _joined(parts: list[Part]) -> str:
    """Parts that stand side by side as one text; white space and comments between them are refused."""
    if not all(kind in _ADDRESS_KINDS for kind, _ in parts):
        raise BadContent("an address that cannot be read")
    return "".join(text for _, text in parts)
