"""Where lines and messages end: strict CRLF lines with limits, dot-unstuffing, BDAT chunks.

Only CRLF ends a command and only CRLF.CRLF ends data (RFC 5321 sections 2.3.8 and 4.1.1.4). Servers that
took a bare LF for a line end let one message smuggle another past their peers (SEC Consult, 2023). All readers
take from one shared buffer, hold back what could still become part of a delimiter, and keep nothing else: what
they hold is bounded by the line limit, or by four octets in a body.
"""

import re
from io import IncrementalNewlineDecoder

from gateway import reply
from gateway.reply import Reply

CRLF = b"\r\n"
_LINE_DOT = b"\r\n."
_END_OF_DATA = b"\r\n.\r\n"
MAX_DROPPED = 256 * 1024  # octets of one command line
_BARE_LF = re.compile(rb"(?<!\r)\n")


class BareLineEnd(Exception):
    """A CR or LF alone, or a NUL, in a command."""


class LineTooLong(Exception):
    """A command line past the limit has ended; it was dropped as it came, but for the octets of its verb.

    Or, when it is `endless`, it goes on after MAX_DROPPED octets: nobody who speaks SMTP sends that.
    """

    def __init__(self, head: bytes, *, endless: bool = False) -> None:
        super().__init__()
        self.head = head
        self.endless = endless

    @property
    def reply(self) -> Reply:
        if self.endless:
            return reply.ENDLESS_LINE
        return reply.BAD_CHUNK_SIZE if self.head.upper().startswith(b"BDAT") else reply.LINE_TOO_LONG


class LineReader:
    """Command lines from `buffer`, at most `limit` octets each with their CRLF."""

    def __init__(self, buffer: bytearray, limit: int) -> None:
        self._buffer = buffer
        self._limit = limit
        self._dropped = b""
        self._octets = 0  # dropped of the present line

    def take(self) -> bytes | None:
        """The next line without its CRLF, or None when more must come. Raises BareLineEnd, LineTooLong."""
        end = self._buffer.find(b"\n")
        if end < 0:
            self._hold()
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._octets = 0
        if not line.endswith(CRLF) or line.find(b"\r") < end - 1 or b"\0" in line:
            raise BareLineEnd
        if self._dropped or len(line) > self._limit:
            head, self._dropped = (self._dropped or line)[:8], b""
            raise LineTooLong(head)
        return line[:-2]

    def _hold(self) -> None:
        """Without a line end in sight: look for what is forbidden, and keep no more than the limit."""
        cr = self._buffer.find(b"\r")
        if b"\0" in self._buffer or -1 < cr < len(self._buffer) - 1:
            raise BareLineEnd
        if len(self._buffer) > self._limit:
            self._dropped = self._dropped or bytes(self._buffer[:8])
            self._octets += len(self._buffer)
            del self._buffer[: -1 if cr >= 0 else None]
            if self._octets > MAX_DROPPED:
                raise LineTooLong(self._dropped, endless=True)


class BodyCounter:
    """Counts and normalises the octets of a message, and remembers what was seen in them."""

    def __init__(self) -> None:
        self.octets = 0
        self.bare_cr = self.bare_lf = self.nul = self.eight_bit = False

    def clean(self, block: bytes) -> bytes:
        """`block` with each bare LF as CRLF. A block never ends between a CR and its LF."""
        text = block.decode("latin-1")  # an octet a character, so that text's fast scanner can read it
        ends = _line_ends(text)
        if "\r" in ends:
            self.bare_cr = True
        if "\n" in ends:
            self.bare_lf = True
            block = _BARE_LF.sub(CRLF, block)
        if "\0" in text:
            self.nul = True
        if not text.isascii():
            self.eight_bit = True
        self.octets += len(block)
        return block


def _line_ends(text: str) -> tuple[str, ...]:
    """Which of "\\r", "\\n" and "\\r\\n" there are: four times as fast as to count each of them."""
    scanner = IncrementalNewlineDecoder(None, translate=False)
    scanner.decode(text, final=True)
    seen = scanner.newlines
    return seen if isinstance(seen, tuple) else (seen or "",)


class DotReader:
    """The octets after DATA, up to CRLF.CRLF (RFC 5321 section 4.5.2).

    The data begins at the start of a line, so the reader puts the CRLF that ended the DATA command back in
    front: then the end mark is one string to look for, and a stuffed dot is always CRLF-dot.
    """

    def __init__(self, buffer: bytearray, counter: BodyCounter) -> None:
        self._buffer = buffer
        self._counter = counter
        self._skip = len(CRLF)
        self.done = False
        buffer[0:0] = CRLF

    def take(self) -> bytes:
        """What can be handed on, perhaps nothing; `done` once the end was met."""
        buffer = self._buffer
        # Most of a large message is base64, without a dot: then a look for that one octet, at the speed of memory, is all.
        dot = buffer.find(_LINE_DOT) if b"." in buffer else -1
        end = buffer.find(_END_OF_DATA, dot) if dot >= 0 else -1
        if end >= 0:
            self.done = True
            length, read = end + len(CRLF), end + len(_END_OF_DATA)
        else:
            length = read = len(buffer) - _could_begin_end(buffer)
        block = bytes(buffer[:length])
        del buffer[:read]
        if not block:
            return b""
        if 0 <= dot < length:
            block = block.replace(_LINE_DOT, CRLF)
        block = block[self._skip :]
        self._skip = 0
        return self._counter.clean(block)


def _could_begin_end(buffer: bytearray) -> int:
    """How many octets at the end of `buffer` may be the beginning of the end mark."""
    if not buffer.endswith((b"\r", b"\n", b".")):
        return 0
    return next((n for n in (4, 3, 2, 1) if buffer.endswith(_END_OF_DATA[:n])), 0)


class ChunkReader:
    """The octets of one BDAT chunk (RFC 3030 section 2), exactly as many as it announced."""

    def __init__(self, buffer: bytearray, octets: int) -> None:
        self._buffer = buffer
        self._left = octets

    @property
    def done(self) -> bool:
        return self._left == 0

    def take(self) -> bytes:
        block = bytes(self._buffer[: self._left])
        del self._buffer[: len(block)]
        self._left -= len(block)
        return block


class ChunkJoiner:
    """Makes one message of chunks: a CR and its LF may come in two of them."""

    def __init__(self, counter: BodyCounter) -> None:
        self._counter = counter
        self._held = b""
        self._last = b""

    def take(self, block: bytes) -> bytes:
        block = self._held + block
        self._held = b"\r" if block.endswith(b"\r") else b""
        block = self._counter.clean(block[: len(block) - len(self._held)])
        self._last = block[-1:] or self._last
        return block

    def finish(self) -> bytes:
        """The rest of the message, with a line end if it had none: the next hop gets it by DATA, which needs one."""
        rest = self._held + (CRLF if self._held or self._last not in (b"", b"\n") else b"")
        self._held, self._last = b"", b"\n"
        return self._counter.clean(rest)
