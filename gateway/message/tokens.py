"""A value of addresses cut into tokens, and these into members: what stands between "," ":" and ";" (RFC 5322 section 3.4).

One pass, linear in the value and bounded in memory. What cannot be a token makes its member unreadable, not the rest.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_PARTS = 1000  # tokens kept of one member
MAX_TOKENS = 50_000  # read of one value: the 8,000 named addresses that fill a header block have no more
MAX_COMMENT_DEPTH = 20

# Dots and "@" stay in a word, so that nearly every address is one token; `address.parse` takes it apart.
# A run of commas is one: empty members are allowed (obs-mbox-list).
_TOKEN = re.compile(
    r"(?P<space>[ \t]++)"
    r"|(?P<word>[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-.@\u00a0-\u2027\u202a-\U0010ffff]++)"
    r'|(?P<quoted>"(?>(?:[^"\\]++|\\.)*)")'
    r"|(?P<literal>\[[^\[\]\\]*+\])"
    r"|(?P<comma>,[ \t,]*+)"
    r"|(?P<mark>[<>:;(])",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)

Part = tuple[str, str]  # kind, text


@dataclass(slots=True)
class Member:
    """What stands between two separators: tokens and comments, and the separator that ended it ("" at the end)."""

    parts: list[Part] = field(default_factory=list)
    end: str = ""
    readable: bool = True


def members(text: str) -> Iterator[Member]:
    """The members of `text`, an empty one where nothing stands between two separators."""
    member = Member()
    in_angle = False
    for kind, piece in _tokens(text):
        if kind == "mark":
            in_angle = piece == "<" or (in_angle and piece != ">")
        if not in_angle and (kind == "comma" or piece in (":", ";")):
            member.end = piece[0]
            yield member
            member = Member()
        elif kind == "bad" or len(member.parts) == MAX_PARTS:
            member.readable = False
        else:
            member.parts.append((kind, piece))
    yield member


def stripped(parts: list[Part]) -> list[Part]:
    """The parts without white space and comments at the ends."""
    first, last = 0, len(parts)
    while first < last and parts[first][0] in ("space", "comment"):
        first += 1
    while last > first and parts[last - 1][0] in ("space", "comment"):
        last -= 1
    return parts[first:last]


def _tokens(text: str) -> Iterator[Part]:
    """The parts of `text`. One of kind "bad" is a character that belongs nowhere, or all the rest after an open quote."""
    position = count = 0
    while position < len(text):
        count += 1
        token = _TOKEN.match(text, position)
        if count > MAX_TOKENS:
            position = len(text)
            yield "bad", ""
        elif token is None:
            # Nothing after an open quote is sure; looking at each further quote again would be quadratic.
            position = len(text) if text[position] == '"' else position + 1
            yield "bad", ""
        elif token[0] == "(":
            position = _comment_end(text, position)
            yield "comment" if position else "bad", ""
            position = position or len(text)
        else:
            position = token.end()
            yield token.lastgroup or "", token[0]


def _comment_end(text: str, start: int) -> int:
    """The index past the comment at `start`, or 0 when it has no end or is nested past the bound."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        if mark[0] == "(":
            depth += 1
        elif mark[0] == ")":
            depth -= 1
        if depth == 0:
            return mark.end()
        if depth > MAX_COMMENT_DEPTH:
            return 0
    return 0
