"""Takes a body as it streams in: in memory up to 64 KiB, past that in a `Bodies` store, block by block."""

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
        self._pending = bytearray()
        self._writer: BodyWriter | None = None

    async def write(self, data: bytes) -> None:
        """Append. Raises StorageFull or Unavailable; only `discard` may follow."""
        self._pending += data
        self.size += len(data)
        if self._writer is None and self.size > INLINE:
            self._writer = await self._bodies.create(self._name)
        if self._writer is not None and len(self._pending) >= BLOCK:
            await self._flush(self._writer)

    async def finish(self) -> BodyRef:
        """The whole body, on disk unless it is small. Raises as `write`."""
        if self._writer is None:
            return Inline(bytes(self._pending))
        await self._flush(self._writer)
        return await self._writer.finish()

    async def discard(self) -> None:
        """Drop everything; never raises. Of a finished body it drops nothing: its row may be there already."""
        self._pending.clear()
        if self._writer is not None:
            await self._writer.discard()

    async def _flush(self, writer: BodyWriter) -> None:
        block = bytes(self._pending)
        self._pending.clear()
        await writer.write(block)
