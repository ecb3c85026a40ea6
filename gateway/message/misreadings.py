"""What careless programs would take for an author: those that look for "<...>", and those that decode encoded words first.

They are wrong (RFC 5322 section 3.4, RFC 2047 section 6.2) and common: scripts, filters, mail pages. An author's name
that shows them another address than the one it stands for would be a way to write in somebody else's name.
"""

import binascii
import re
from collections.abc import Collection

from gateway.message.header import BadContent

MAX_ENCODED = 1000  # characters of one encoded word; RFC 2047 section 2 allows 75. Some charsets take quadratic time

# encoded-word (RFC 2047 section 2), less what could end a phrase
ENCODED_WORD = re.compile(r'=\?([^\s?"(),:;<>@\[\\\]]++)\?([BbQq])\?([^\s?"()<>\\]*+)\?=')
_BETWEEN = re.compile(r"\?=[ \t]++=\?")  # white space that is none (RFC 2047 section 6.2)
_ANGLE = re.compile(r"<([^<>]*+)>?")
_ROUTE = re.compile(r"\A@[^:]*+:")
_WORD = re.compile(r'[^\s<>"(),;:\\]++')
# Who drops comments and white space sees an address in `b @ (c) y. example`; "Käthe @ Work" is nobody's
_REACHABLE = re.compile(r"@[^.]*+(?>(?:\.[\s.]*+)+)[^\s.]")
_BREAKING = re.compile(r"[\x00\r\n]")


def check(text: str, authors: Collection[str]) -> None:
    """Raises BadContent when a careless reader of the value `text` finds an address that is none of the `authors`."""
    plain = _decoded(text) if "=?" in text else text
    if any(_is_other(angle[1].strip(), authors) for angle in _ANGLE.finditer(plain)):
        raise BadContent('another address in "<" and ">"')
    if plain is not text:  # decoded, a name may have lost the quotes around it
        left = _WORD.sub(lambda word: "" if word[0] in authors else word[0], _ANGLE.sub("", plain))
        if "@" in left and _REACHABLE.match(left, left.index("@")):
            raise BadContent("another address beside an encoded word")


def _is_other(inside: str, authors: Collection[str]) -> bool:
    return "@" in inside and inside not in authors and _ROUTE.sub("", inside) not in authors


def _decoded(text: str) -> str:
    """`text` as it is for those who decode encoded words wherever they stand."""
    decoded = ENCODED_WORD.sub(_word, _BETWEEN.sub("?==?", text))
    if _BREAKING.search(decoded):
        raise BadContent("a line break or NUL in an encoded word")
    return decoded


def _word(found: re.Match[str]) -> str:
    charset, encoding, encoded = found.groups()
    if len(encoded) > MAX_ENCODED:
        raise BadContent("a damaged encoded word")
    octets = _octets(encoding, encoded)
    try:
        return octets.decode(charset.partition("*")[0], "replace")  # "*" begins a language: RFC 2231 section 5
    except (LookupError, ValueError):  # a charset that we do not know, or that replaces nothing: most have ASCII in them
        return octets.decode("latin-1")


def _octets(encoding: str, encoded: str) -> bytes:
    try:
        octets = encoded.encode("ascii")
        return binascii.a2b_qp(octets, header=True) if encoding in "Qq" else binascii.a2b_base64(octets + b"==")
    except ValueError:  # binascii.Error and UnicodeEncodeError among them
        raise BadContent("a damaged encoded word") from None
