"""Reads what a server answers: octets in, whole replies out.

RFC 5321 section 4.2: `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`.
Nothing a server sends makes this grow: a line has at most MAX_LINE octets, a reply at most MAX_LINES lines.
"""

import re
from functools import lru_cache

from gateway.reply import Reply

MAX_LINE = 4096  # octets; RFC 5321 section 4.5.3.1.5 says 512, some servers say more
MAX_LINES = 100  # an EHLO list has about fifteen
MAX_TEXT = 512  # characters of a reply that we keep for logs and reports
_KNOWN = 256  # replies of one line that are not read anew: a hop says the same few all day

# Reply-code = %x32-35 %x30-35 %x30-39; the second digit is not worth refusing a reply for
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
# RFC 3463 section 2: status-code = class "." subject "." detail
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


class ProtocolError(Exception):
    """The server does not speak SMTP; `str()` is our own description, without its words."""


class ReplyReader:
    """The buffer of one connection. `feed`, then `next_reply` until it gives None."""

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []

    @property
    def empty(self) -> bool:
        """Whether nothing came after the last whole reply."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """The next whole reply, its enhanced code taken off. Raises ProtocolError."""
        while (line := self._next_line()) is not None:
            if not self._lines and (reply := _one_line(line)) is not None:
                return reply
            if self._add(line):
                reply = _reply(int(self._code), [_printable(text) for text in self._lines])
                self._code, self._lines = b"", []
                return reply
        return None

    def _next_line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\n")
        if len(line) > MAX_LINE:
            raise ProtocolError("reply line too long")
        if not end:
            return None
        self._buffer = rest
        return line.removesuffix(b"\r")

    def _add(self, line: bytes) -> bool:
        """Take one line; True when it ends its reply."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise ProtocolError("a line that is not a reply")
        code, mark, text = match.groups()
        if self._lines and code != self._code:
            raise ProtocolError("two codes in one reply")
        if len(self._lines) >= MAX_LINES:
            raise ProtocolError("reply of too many lines")
        self._code = code
        self._lines.append(text or b"")
        return bool(mark != b"-")


@lru_cache(_KNOWN)
def _one_line(line: bytes) -> Reply | None:
    """The reply that is this line; None when others follow, or when it is none."""
    match = _LINE.fullmatch(line)
    return _reply(int(match[1]), [_printable(match[3] or b"")]) if match is not None and match[2] != b"-" else None


def _printable(text: bytes) -> str:
    """Server text for logs and reports: nothing in it can end a line or move a cursor."""
    shown = text.decode("utf-8", "replace")
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "?" for c in shown)


def _reply(code: int, lines: list[str]) -> Reply:
    """Many servers repeat the enhanced code on each line (RFC 2034 section 3); one of another class is only text."""
    match = _ENHANCED.match(lines[0])
    if match is None or int(match[1][0]) != code // 100:
        return Reply(code, "", tuple(lines))
    enhanced = match[1]
    return Reply(code, enhanced, tuple(line.removeprefix(enhanced).lstrip(" ") for line in lines))
