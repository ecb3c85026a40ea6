"""Bodies as rows: what is there meanwhile, bodies that are not whole, orphans. The rest: tests/contract/test_bodies.py."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, select, update

from gateway.errors import Unavailable
from gateway.queue.model import Envelope, Field, NewMessage, NewRecipient, Spooled
from gateway.store.chunks import CHUNK, Chunks
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import body_chunk
from tests.pump import Pump
from tests.servers.databases import Postgresql
from tests.stores import postgresql_url, running

NAME, DAY = "0000000000000001", 86400.0


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def database(postgresql: Postgresql, pump: Pump) -> Iterator[Database]:
    with running(postgresql_url(postgresql), pump) as database:
        yield database


@pytest.fixture
def chunks(database: Database) -> Chunks:
    return Chunks(database)


@pytest.fixture
def kept(database: Database, pump: Pump) -> Callable[[], list[tuple[str, int, int]]]:
    columns = (body_chunk.c.name, body_chunk.c.position, func.length(body_chunk.c.data))
    query = select(*columns).order_by(body_chunk.c.name, body_chunk.c.position)
    return lambda: pump.result(database.read(lambda connection: [tuple(row) for row in connection.execute(query)]))


def body(pump: Pump, chunks: Chunks, size: int, name: str = NAME) -> Spooled:
    writer = pump.result(chunks.create(name))
    pump.result(writer.write(b"x" * size))
    return pump.result(writer.finish())


def pass_time(pump: Pump, database: Database, seconds: float, name: str = NAME) -> None:
    older = update(body_chunk).where(body_chunk.c.name == name).values(at=body_chunk.c.at - seconds)
    pump.result(database.write(lambda connection: connection.execute(older) and None))


Kept = Callable[[], list[tuple[str, int, int]]]


def test_chunks_are_committed_while_the_body_arrives(pump: Pump, chunks: Chunks, kept: Kept) -> None:
    writer = pump.result(chunks.create(NAME))
    pump.result(writer.write(b"x" * (CHUNK - 1)))
    assert kept() == []
    pump.result(writer.write(b"y" * (CHUNK + 2)))
    assert kept() == [(NAME, 0, CHUNK), (NAME, 1, CHUNK)]
    pump.result(writer.write(b"z"))
    assert pump.result(writer.finish()) == Spooled(NAME, 2 * CHUNK + 2)
    assert kept() == [(NAME, 0, CHUNK), (NAME, 1, CHUNK), (NAME, 2, 2)]


def test_a_discarded_body_leaves_nothing(pump: Pump, chunks: Chunks, kept: Kept) -> None:
    body(pump, chunks, 10, "other")
    writer = pump.result(chunks.create(NAME))
    pump.result(writer.write(b"x" * 3 * CHUNK))
    pump.result(writer.discard())
    assert kept() == [("other", 0, 10)]


def test_a_name_that_is_there_already_is_refused_and_its_body_untouched(pump: Pump, chunks: Chunks, kept: Kept) -> None:
    body(pump, chunks, 10)
    writer = pump.result(chunks.create(NAME))
    assert isinstance(pump.failure(writer.write(b"x" * CHUNK)), Unavailable)
    pump.result(writer.discard())
    assert kept() == [(NAME, 0, 10)]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_body_that_is_not_whole_does_not_end_early(pump: Pump, database: Database, chunks: Chunks, lost: int) -> None:
    whole = body(pump, chunks, 3 * CHUNK)
    gone = body_chunk.delete().where(body_chunk.c.position == lost)
    pump.result(database.write(lambda connection: connection.execute(gone) and None))
    reader = pump.result(chunks.open(whole))
    for _ in range(lost):
        assert len(pump.result(reader.read())) == CHUNK
    assert isinstance(pump.failure(reader.read()), Unavailable)


def test_a_row_that_names_less_than_there_is_is_not_believed(pump: Pump, chunks: Chunks) -> None:
    body(pump, chunks, 100)
    assert isinstance(pump.failure(chunks.open(Spooled(NAME, 99))), Unavailable)


def test_orphans_are_swept_when_old_and_named_by_no_row(pump: Pump, database: Database, chunks: Chunks, kept: Kept) -> None:
    names = ("oldorphan", "oldneeded", "oldnamed", "neworphan")
    for name in names:
        body(pump, chunks, CHUNK + 1, name)
    for name in names[:3]:
        pass_time(pump, database, DAY + 10, name)
    outbox = SqlOutbox(database, "one")
    to = (NewRecipient("you@example.net", Field.TO),)
    named = NewMessage("0000000000000002", "7", Envelope("me@example.com"), b"\r\n", Spooled("oldnamed", CHUNK + 1), to)
    pump.result(outbox.add(named, lease=False))
    asked: list[str] = []

    async def live(some: list[str]) -> set[str]:
        asked.extend(some)
        return {"oldneeded"}  # its row was committed since they were found

    assert pump.result(chunks.sweep_orphans(live, DAY)) == 1
    assert sorted(asked) == ["oldneeded", "oldorphan"]
    assert [name for name, _, size in kept() if size == 1] == ["neworphan", "oldnamed", "oldneeded"]


def test_a_body_that_still_arrives_is_no_orphan(pump: Pump, database: Database, chunks: Chunks) -> None:
    writer = pump.result(chunks.create(NAME))
    pump.result(writer.write(b"x" * CHUNK))
    pass_time(pump, database, DAY + 10)
    pump.result(writer.write(b"x" * CHUNK))

    async def live(some: list[str]) -> set[str]:
        raise AssertionError

    assert pump.result(chunks.sweep_orphans(live, DAY)) == 0


def test_removing_and_discarding_never_raise(pump: Pump, chunks: Chunks, postgresql: Postgresql) -> None:
    one = body(pump, chunks, CHUNK)
    writer = pump.result(chunks.create("other"))
    pump.result(writer.write(b"x" * CHUNK))
    postgresql.process.kill()
    pump.result(chunks.remove(one))
    pump.result(writer.discard())
    assert isinstance(pump.failure(chunks.open(one)), Unavailable)
    postgresql.process.start()
    assert pump.result(pump.result(chunks.open(one)).read()) == b"x" * CHUNK
