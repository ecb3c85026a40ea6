"""Takes a body as it streams in: in memory up to 64 KiB, past that in a `Bodies` store, block by block."""

from io import BytesIO

from gateway.queue.model import BodyRef, Inline
from gateway.queue.ports import Bodies, BodyWriter

INLINE = 64 * 1024  # octets: up to here a body is cheaper in its message row than as a file
BLOCK = 256 * 1024  # octets: one hop to a thread for each


class BodyBuffer:
    """The body of queue id `name`. Calls come one at a time; memory stays under BLOCK and one piece."""

    def __init__(self, bodies: Bodies, name: str) -> None:
        self.size = 0  # octets taken so far
        self._bodies = bodies
        self._name = name
        self._pending = BytesIO()  # gives its octets away without a copy, as a bytearray cannot
        self._writer: BodyWriter | None = None

    async def write(self, data: bytes) -> None:
        """Append. Raises StorageFull or Unavailable; only `discard` may follow."""
        self._pending.write(data)
        self.size += len(data)
        if self._writer is None and self.size > INLINE:
            self._writer = await self._bodies.create(self._name)
        if self._writer is not None and self._pending.tell() >= BLOCK:
            await self._writer.write(self._taken())

    async def finish(self) -> BodyRef:
        """The whole body, on disk unless it is small. Raises as `write`."""
        if self._writer is None:
            return Inline(self._taken())
        return await self._writer.finish(self._taken())

    async def discard(self) -> None:
        """Drop everything; never raises. Of a finished body it drops nothing: its row may be there already."""
        self._pending = BytesIO()
        if self._writer is not None:
            await self._writer.discard()

    def _taken(self) -> bytes:
        """All that is held, which is then the caller's."""
        block = self._pending.getvalue()
        self._pending = BytesIO()
        return block
