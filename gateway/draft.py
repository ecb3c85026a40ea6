"""A message while it comes in: the header held whole and bounded, the body passed on as it streams.

What is wrong with it is remembered and told at its end, for SMTP has no way to say it earlier; from then on
nothing more is kept (RFC 5321 section 4.1.1.4).
"""

import hashlib
from collections.abc import Sequence

from gateway import maillog, reply
from gateway.address import Address
from gateway.errors import StorageFull, Unavailable
from gateway.message import header as headers
from gateway.message import prepare
from gateway.message.header import BadContent, Header
from gateway.queue.body import BodyBuffer
from gateway.queue.model import BodyRef
from gateway.reply import Reply
from gateway.smtp.events import BodyEnd

MAX_HEADER = 256 * 1024  # octets
MAX_MAILBOX_LINES = 10  # "From " lines at the start that become fields
MAX_HASHED_ALONE = 8 * 1024  # octets: more takes long enough for other threads to do something meanwhile


class Draft:
    """The message that will have queue id `queue_id`. `limit` in octets is the account's message size."""

    def __init__(self, queue_id: str, body: BodyBuffer, limit: int) -> None:
        self.queue_id = queue_id
        self.refusal: Reply | None = None
        self.header = Header()
        self.senders: list[tuple[str, Address]] = []  # whom it says it is from, see `prepare.senders`
        self._named = prepare.Named()
        self._body = body
        self._limit = limit
        self._octets = 0
        self._digest = hashlib.sha256()
        self._block: bytearray | None = bytearray()  # the header while it is not complete
        self._begun = False  # whether it is known that a header begins the message, or that there is none
        self._headless = False  # the header was over where its first line should be, at `_first` in the block
        self._first = self._mailbox_lines = 0

    async def take(self, data: bytes) -> None:
        """Some more octets. What goes wrong with them is in `refusal` afterwards."""
        try:
            await self._take(data)
        except Exception:  # a bug: the session lives, but a message with a hole in it must not
            await self._refuse(reply.SERVICE_ERROR)
            raise

    async def _take(self, data: bytes) -> None:
        self._octets += len(data)
        if self.refusal is not None:
            return
        if self._octets > self._limit:
            await self._refuse(reply.too_large(self._limit))
            return
        self._hash(data)
        if self._block is not None:
            data = await self._take_header(self._block, data)
        if data and self.refusal is None:
            await self._store(data)

    def _hash(self, data: bytes) -> None:
        # From 2048 octets on hashlib lets other threads run, and to wait until they are done takes longer than a small message
        step = 2047 if len(data) <= MAX_HASHED_ALONE else len(data)
        for start in range(0, len(data), step):
            self._digest.update(data[start : start + step])

    async def finish(self, end: BodyEnd, *, bare_newlines: bool) -> None:
        """The message is complete. `bare_newlines`: a bare LF was welcome. See `refusal`."""
        if end.octets > self._limit:  # said once more, now that the size is known
            self.refusal = reply.too_large(self._limit, end.octets)
        if self.refusal is None and (flaw := _flaw(end, bare_newlines)):
            self.refusal = reply.bad_content(flaw)
        if self.refusal is None and self._block is not None:  # the message ends with its header
            rest = await self._end_header(self._block, 0, last=True)
            if rest and self.refusal is None:
                await self._store(rest)
        if self.refusal is not None:
            await self.discard()

    @property
    def digest(self) -> bytes:
        """Of all that was submitted, line ends apart."""
        return self._digest.digest()

    async def stored(self) -> BodyRef:
        """Make the body durable as far as it is not going into its row. Raises StorageFull, Unavailable."""
        return await self._body.finish()

    async def discard(self) -> None:
        await self._body.discard()

    def placements(self, recipients: Sequence[Address]) -> list[prepare.Placement]:
        return prepare.classify(self._named, recipients)

    async def _take_header(self, block: bytearray, data: bytes) -> bytes:
        """Add to the header; what belongs to the body already comes back."""
        seen = len(block)
        block += data
        if not self._begun:
            seen = self._look_at_first_line(block, seen, last=len(block) > MAX_HEADER)
        if self._headless:
            return await self._end_header(block, seen, last=False)
        end = headers.find_end(block, seen)
        if end < 0 or end > MAX_HEADER:
            if len(block) > MAX_HEADER:
                await self._refuse(reply.bad_content(f"its header is longer than {MAX_HEADER // 1024} KiB"))
            return b""
        rest = bytes(block[end:])
        await self._parse(bytes(block[: end - len(b"\r\n")]))
        return rest

    def _look_at_first_line(self, block: bytearray, seen: int, *, last: bool) -> int:
        """Give a message without a header its empty line, once its first line is whole; `last`: it is as whole as it gets.

        `seen` octets have been looked at before; answers how many have been for the next look.
        """
        while not self._begun:
            end = block.find(b"\r\n", max(self._first, seen - 1))
            if end < 0 and not last:
                return seen
            end = end + 2 if end >= 0 else len(block)
            put = headers.before_first_line(
                bytes(block[self._first : end]), mailbox_lines=self._mailbox_lines < MAX_MAILBOX_LINES
            )
            block[self._first : self._first] = put
            seen = 0
            self._headless = put == b"\r\n"
            self._begun = self._headless or not put
            if not self._begun:
                self._mailbox_lines += 1
                self._first = end + len(put)
        return 0

    async def _end_header(self, block: bytearray, seen: int, *, last: bool) -> bytes:
        """The header of a message that has none, or that ends with it, is there; what belongs to the body comes back."""
        if not self._begun:
            seen = self._look_at_first_line(block, seen, last=last)
        if not self._headless:
            await self._parse(bytes(block))
            return b""
        body = self._first + len(b"\r\n")
        if not last and len(block) <= MAX_HEADER and block.find(b"\r\n\r\n", max(body, seen - 3)) < 0:
            return b""  # a Bcc may come
        rest = bytes(block[body:])
        if headers.has_blind_field(rest[:MAX_HEADER]):
            await self._refuse(reply.bad_content("it has a Bcc field after a line that is no header field"))
            return b""
        await self._parse(bytes(block[: self._first]))
        return rest

    async def _parse(self, block: bytes) -> None:
        self._block = None
        try:
            self.header = Header.parse(block)
            self.senders, self._named = prepare.check(self.header)
        except BadContent as bad:
            await self._refuse(reply.bad_content(bad.reason))

    async def _store(self, data: bytes) -> None:
        try:
            await self._body.write(data)
        except Unavailable as away:
            maillog.store_unavailable("writing a body", str(away))
            await self._refuse(reply.STORE_FULL if isinstance(away, StorageFull) else reply.SERVICE_ERROR)

    async def _refuse(self, said: Reply) -> None:
        self.refusal = said
        self._block = None
        await self._body.discard()


def _flaw(end: BodyEnd, bare_newlines: bool) -> str:
    """Why the message cannot be carried byte for byte, or ""."""
    if end.bare_cr:
        return "it has a carriage return that does not end a line"
    if end.nul:
        return "it has a NUL character"
    if end.bare_lf and not bare_newlines:
        return "it has a line that ends with a bare LF"
    return ""
