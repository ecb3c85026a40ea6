"""What every Bodies does: the spool of files, the rows of chunks and the fake that other tests use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from gateway.errors import Unavailable
from gateway.queue.body import BLOCK, INLINE, BodyBuffer
from gateway.queue.model import BodyRef, Inline, Spooled
from gateway.queue.ports import Bodies
from gateway.queue.spool import Spool
from gateway.store.chunks import Chunks
from tests.fakes import FakeBodies
from tests.pump import Pump
from tests.stores import postgresql_url, running

T = TypeVar("T")
NAME = "0000000000000001"


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=["spool", "chunks", "fake"])
def bodies(request: pytest.FixtureRequest, tmp_path: Path, pump: Pump) -> Iterator[Bodies]:
    if request.param == "fake":
        yield FakeBodies()
        return
    if request.param == "chunks":
        with running(postgresql_url(request.getfixturevalue("postgresql")), pump) as database:
            yield Chunks(database)
        return
    pool = ThreadPool(1, 4)

    def run(function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        return deferToThreadPool(pump, pool, function, *arguments)

    spool = Spool(tmp_path / "spool", run)
    spool.prepare()
    pool.start()
    yield spool
    pool.stop()


def read(pump: Pump, bodies: Bodies, body: BodyRef) -> list[bytes]:
    reader = pump.result(bodies.open(body))
    blocks = []
    while block := pump.result(reader.read()):
        blocks.append(block)
    assert pump.result(reader.read()) == b""
    reader.close()
    return blocks


def kept(pump: Pump, bodies: Bodies, *pieces: bytes) -> BodyRef:
    buffer = BodyBuffer(bodies, NAME)
    for piece in pieces:
        pump.result(buffer.write(piece))
    assert buffer.size == sum(map(len, pieces))
    return pump.result(buffer.finish())


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE])
def test_a_small_body_stays_in_memory(pump: Pump, bodies: Bodies, size: int) -> None:
    body = kept(pump, bodies, b"x" * size)
    assert body == Inline(b"x" * size)
    assert b"".join(read(pump, bodies, body)) == b"x" * size


@pytest.mark.parametrize("size", [INLINE + 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
@pytest.mark.parametrize("piece", [16_384, 100_000, 2 * BLOCK])
def test_a_large_body_comes_back_octet_for_octet(pump: Pump, bodies: Bodies, size: int, piece: int) -> None:
    data = bytes(n * 7 % 256 for n in range(size))
    body = kept(pump, bodies, *(data[n : n + piece] for n in range(0, size, piece)))
    assert body == Spooled(NAME, size)
    blocks = read(pump, bodies, body)
    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= BLOCK


def test_two_readers_do_not_disturb_each_other(pump: Pump, bodies: Bodies) -> None:
    body = kept(pump, bodies, b"a" * BLOCK, b"b" * BLOCK)
    one = pump.result(bodies.open(body))
    assert pump.result(one.read()) == b"a" * BLOCK
    assert b"".join(read(pump, bodies, body)) == b"a" * BLOCK + b"b" * BLOCK
    assert pump.result(one.read()) == b"b" * BLOCK
    one.close()


def test_a_removed_body_is_gone_and_removing_again_is_fine(pump: Pump, bodies: Bodies) -> None:
    body = kept(pump, bodies, b"x" * (INLINE + 1))
    assert isinstance(body, Spooled)
    pump.result(bodies.remove(body))
    pump.result(bodies.remove(body))
    assert isinstance(pump.failure(bodies.open(body)), Unavailable)


def test_a_discarded_body_is_gone_and_its_name_free(pump: Pump, bodies: Bodies) -> None:
    buffer = BodyBuffer(bodies, NAME)
    pump.result(buffer.write(b"x" * (INLINE + 1)))
    pump.result(buffer.discard())
    assert isinstance(pump.failure(bodies.open(Spooled(NAME, INLINE + 1))), Unavailable)
    assert kept(pump, bodies, b"y" * (INLINE + 1)) == Spooled(NAME, INLINE + 1)


def test_discarding_a_finished_body_keeps_it(pump: Pump, bodies: Bodies) -> None:
    buffer = BodyBuffer(bodies, NAME)
    pump.result(buffer.write(b"x" * (INLINE + 1)))
    body = pump.result(buffer.finish())
    pump.result(buffer.discard())
    assert len(b"".join(read(pump, bodies, body))) == INLINE + 1
