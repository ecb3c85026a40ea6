"""A message's header as ordered raw fields: what is not touched goes out byte for byte as it came.

Parsing only finds where the fields begin and end; what a value means is read elsewhere, and only for the few
fields that matter (`mailboxes.py`). Line ends are CRLF: framing has normalised or refused everything else.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

# field = field-name ":" unstructured CRLF, field-name = 1*ftext, ftext = %d33-57 / %d59-126 (RFC 5322 section 3.6.8);
# white space before the colon is section 4.5.8's. A field ends at the first CRLF without white space after it (2.2.3).
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:.*?\r\n(?![ \t])", re.DOTALL)
MAX_FIELDS = 2000  # each costs some 200 octets of memory while its message comes in; long discussions have some 200
_FOLD = re.compile(rb"\r\n(?=[ \t])")


class BadContent(Exception):
    """The message cannot be carried; `reason` goes into the 554 5.6.0 reply, so it never has the peer's words in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RawField:
    """One field: `name` as written, `raw` the whole of it up to and including its last CRLF."""

    name: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of one message, in their order. Every change makes a new Header."""

    fields: tuple[RawField, ...] = ()

    @classmethod
    def parse(cls, block: bytes) -> "Header":
        """Read a header block without the empty line that ends it; b"" is a header without fields.

        A last line that lacks its CRLF (the message ended there) gets it. Raises BadContent.
        """
        if block and not block.endswith(b"\r\n"):
            block += b"\r\n"
        fields: list[RawField] = []
        position = 0
        while position < len(block):
            if len(fields) == MAX_FIELDS:
                raise BadContent(f"it has more than {MAX_FIELDS} header fields")
            found = _FIELD.match(block, position)
            if found is None:
                raise BadContent(_what_is_wrong(block, position))
            fields.append(RawField(found[1], found[0]))
            position = found.end()
        return cls(tuple(fields))

    def all(self, name: bytes) -> list[RawField]:
        """The fields called `name`, in whatever letter case."""
        wanted = name.lower()
        return [field for field in self.fields if field.name.lower() == wanted]

    def drop(self, names: Collection[bytes]) -> "Header":
        """Without the fields of these names."""
        unwanted = {name.lower() for name in names}
        return Header(tuple(field for field in self.fields if field.name.lower() not in unwanted))

    def prepend(self, raw: bytes) -> "Header":
        """With the complete field `raw` on top. Raises BadContent when it is none."""
        return Header(Header.parse(raw).fields + self.fields)

    def append(self, raw: bytes) -> "Header":
        """With the complete field `raw` at the end. Raises BadContent when it is none."""
        return Header(self.fields + Header.parse(raw).fields)

    def encode(self) -> bytes:
        """The header block; the empty line that ends it is not part of it."""
        return b"".join(field.raw for field in self.fields)


def unfolded(field: RawField) -> bytes:
    """The value on one line, without white space around it (RFC 5322 section 2.2.3)."""
    return _FOLD.sub(b"", field.raw.partition(b":")[2]).strip(b" \t\r\n")


def find_end(block: bytes | bytearray, start: int = 0) -> int:
    """The index just past the empty line that ends the header, or -1 while it has not come.

    `block` grows between calls; `start` is how many of its octets an earlier call has seen.
    """
    if block.startswith(b"\r\n"):  # no fields at all
        return 2
    found = block.find(b"\r\n\r\n", max(0, start - 3))
    return found + 4 if found >= 0 else -1


def _what_is_wrong(block: bytes, position: int) -> str:
    # Mail programs that hand over a mailbox file's text begin so; their users can do something about it.
    if position == 0 and block.startswith((b"From ", b">From ")):
        return 'it begins with a mailbox file\'s "From " line'
    return "a header line without a field name"
