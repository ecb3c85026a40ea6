"""The text behind ENVID and ORCPT: xtext (RFC 3461 section 4) and the form of it for UTF-8 addresses (RFC 6533 section 3)."""

import re

_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")  # EmbeddedUnicodeChar, in letters of either case
_ESCAPE = re.compile(r"\\(?!x\{[0-9A-Fa-f]{1,6}\})")  # a backslash that begins no such form


def decoded(text: str) -> str:
    """The text that `text` stands for; what is in neither form stays as it is."""
    return _embedded(_HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text))


def is_printable_ascii(text: str) -> bool:
    """Whether the decoded text has only printable US-ASCII characters, which RFC 3461 sections 4.2 and 4.4 require."""
    plain = decoded(text)
    return plain.isascii() and plain.isprintable()


def is_printable_utf8(text: str) -> bool:
    """Whether the text of a "utf-8" address has no control, format, separator, private or unassigned character when decoded.

    Both readings are looked at: RFC 6533 has no "+41" in such an address, and some decode it all the same.
    """
    return not _ESCAPE.search(text) and decoded(text).isprintable() and _embedded(text).isprintable()


def _embedded(text: str) -> str:
    return _UNITEXT.sub(lambda found: chr(min(int(found[1], 16), 0x10FFFF)), text)
