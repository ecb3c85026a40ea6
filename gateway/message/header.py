"""A message's header as ordered raw fields: what is not touched goes out byte for byte as it came.

Parsing only finds where the fields begin and end; what a value means is read elsewhere, and only for the few
fields that matter (`mailboxes.py`). Line ends are CRLF: framing has normalised or refused everything else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# field = field-name ":" unstructured CRLF, field-name = 1*ftext, ftext = %d33-57 / %d59-126 (RFC 5322 section 3.6.8);
# white space before the colon is section 4.5.8's. A field ends at the first CRLF without white space after it (2.2.3).
# Where no field begins, all the rest is one match without groups: so reading stays linear.
_FIELD = re.compile(rb"(([!-9;-~]++)[ \t]*+:(?>(?:[^\r]++|\r\n[ \t]|\r(?!\n))*)\r\n)|.++", re.DOTALL)
MAX_FIELDS = 2000  # each costs some 200 octets of memory while its message comes in; long discussions have some 200
# A mailbox file's separator, as it is or quoted. "From :" is a field, in section 4.5.8's form.
_MAILBOX_LINE = re.compile(rb">*+From (?![ \t]*+:)")
_FIELD_START = re.compile(rb"[!-9;-~]++[ \t]*+:")
_BLIND = re.compile(rb"^(?:resent-)?bcc[^\r\n:]{0,20}:", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(rb"\r\n(?=[ \t])")


class BadContent(Exception):
    """The message cannot be carried; `reason` goes into the 554 5.6.0 reply, so it never has the peer's words in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of one message: `fields` in their order, each as (the whole of it with its last CRLF, its name)."""

    block: bytes = b""
    fields: Sequence[tuple[bytes, bytes]] = ()
    _named: Mapping[bytes, Sequence[bytes]] = field(default_factory=dict)  # by name in lower case

    @classmethod
    def parse(cls, block: bytes) -> "Header":
        """Read a header block without the empty line that ends it; b"" is a header without fields.

        A last line that lacks its CRLF (the message ended there) gets it. Raises BadContent.
        """
        if block and not block.endswith(b"\r\n"):
            block += b"\r\n"
        found = _FIELD.findall(block)
        if len(found) > MAX_FIELDS:
            raise BadContent(f"it has more than {MAX_FIELDS} header fields")
        if found and not found[-1][0]:
            raise BadContent("a header line without a field name")
        named: dict[bytes, list[bytes]] = {}
        for raw, name in found:
            named.setdefault(name.lower(), []).append(raw.partition(b":")[2])
        return cls(block, found, named)

    def all(self, name: bytes) -> Sequence[bytes]:
        """The values of the fields called `name`, which is in lower case: all that follows the colon, with the last CRLF."""
        return self._named.get(name, ())

    def without(self, *names: bytes) -> bytes:
        """The header block, less the fields of these names in lower case; the empty line that ends it is no part of it."""
        if self._named.keys().isdisjoint(names):
            return self.block
        return b"".join([raw for raw, name in self.fields if name.lower() not in names])


def unfolded(value: bytes) -> bytes:
    """A field's value on one line, without white space around it (RFC 5322 section 2.2.3)."""
    return _FOLD.sub(b"", value).strip(b" \t\r\n")


def find_end(block: bytes | bytearray, start: int = 0) -> int:
    """The index just past the empty line that ends the header, or -1 while it has not come.

    `block` grows between calls; `start` is how many of its octets an earlier call has seen.
    """
    if block.startswith(b"\r\n"):  # no fields at all
        return 2
    found = block.find(b"\r\n\r\n", max(0, start - 3))
    return found + 4 if found >= 0 else -1


def before_first_line(line: bytes, *, mailbox_lines: bool) -> bytes:
    """What has to stand before the first line of a message; b"" when it begins a field, or is the empty line.

    Postfix does the same (smtpd and cleanup): a mailbox file's "From " line becomes the value of a field, and the next line is
    then the first one; any other line that is no field gets the empty line that ends a header.
    """
    if mailbox_lines and _MAILBOX_LINE.match(line):
        return b"X-Mailbox-Line: "
    return b"" if not line or line == b"\r\n" or _FIELD_START.match(line) else b"\r\n"


def has_blind_field(text: bytes) -> bool:
    """Whether a line of the first paragraph is a Bcc field: in a message without a header it would go out with the body."""
    return _BLIND.search(text.partition(b"\r\n\r\n")[0]) is not None
