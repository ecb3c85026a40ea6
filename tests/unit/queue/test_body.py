"""What the body's buffer holds in memory, and what it does when the disk fails. The rest: tests/contract/test_bodies.py."""

import tracemalloc
from typing import cast

import pytest

from gateway.errors import StorageFull
from gateway.queue.body import BLOCK, INLINE, BodyBuffer
from gateway.queue.model import Spooled
from gateway.queue.ports import Bodies, BodyWriter
from tests.fakes import FakeBodies
from tests.pump import Pump

NAME = "0000000000000001"


class CountingBodies(FakeBodies):
    """Notes the size of each block that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[int] = []

    async def create(self, name: str) -> BodyWriter:
        writer = await super().create(name)
        return _Counting(writer, self.blocks)


class _Counting:
    def __init__(self, writer: BodyWriter, blocks: list[int]) -> None:
        self._writer, self._blocks = writer, blocks
        self.discard = writer.discard

    async def write(self, data: bytes) -> None:
        self._blocks.append(len(data))
        await self._writer.write(data)

    async def finish(self, rest: bytes = b"") -> Spooled:
        self._blocks.append(len(rest))
        return await self._writer.finish(rest)


def test_it_writes_in_large_blocks_only() -> None:
    bodies, pump = CountingBodies(), Pump()
    buffer = BodyBuffer(bodies, NAME)
    for _ in range(100):
        pump.result(buffer.write(b"x" * 16_384))
    pump.result(buffer.finish())
    assert sum(bodies.blocks) == 100 * 16_384
    assert all(size >= BLOCK for size in bodies.blocks[:-1])
    assert max(bodies.blocks) < BLOCK + 16_384


class _Nowhere:
    """Bodies that keep nothing, so that only the buffer's own memory is left to see."""

    async def create(self, name: str) -> "_Nowhere":
        return self

    async def write(self, data: bytes) -> None: ...

    async def finish(self, rest: bytes = b"") -> Spooled:
        return Spooled(NAME, 0)


def test_it_never_holds_a_block_twice() -> None:
    buffer, pump, piece = BodyBuffer(cast(Bodies, _Nowhere()), NAME), Pump(), bytes(16_384)
    tracemalloc.start()
    try:
        for _ in range(100):
            pump.result(buffer.write(piece))
        pump.result(buffer.finish())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert BLOCK < most < BLOCK * 1.5


@pytest.mark.parametrize("size", [INLINE + 1, BLOCK + 1])
def test_a_full_disk_is_reported_and_leaves_nothing(size: int) -> None:
    bodies, pump = FakeBodies(), Pump()
    buffer = BodyBuffer(bodies, NAME)
    pump.result(buffer.write(b"x" * (INLINE + 1)))
    bodies.fail_with = StorageFull("full")

    async def rest() -> None:
        await buffer.write(b"x" * (size - INLINE - 1))
        await buffer.finish()

    assert isinstance(pump.failure(rest()), StorageFull)
    pump.result(buffer.discard())
    assert bodies.growing == {}
    assert bodies.files == {}


def test_a_store_that_cannot_begin_is_reported() -> None:
    bodies, pump = FakeBodies(), Pump()
    bodies.fail_with = StorageFull("full")
    buffer = BodyBuffer(bodies, NAME)
    assert isinstance(pump.failure(buffer.write(b"x" * (INLINE + 1))), StorageFull)
    pump.result(buffer.discard())
