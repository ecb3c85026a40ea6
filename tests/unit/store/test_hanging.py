"""A database that hangs: callers hear of it, what was not begun is never written, and what was begun may be."""

import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.errors import Unavailable
from gateway.store.database import SLOW_WRITE, Database
from gateway.store.patience import EVERY, STORE_PATIENCE
from tests.pump import Pump, deferred
from tests.stores import running, store_url

OVER = STORE_PATIENCE + 2 * EVERY
Gate = queue.SimpleQueue[None]


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def gate() -> Gate:
    return queue.SimpleQueue()


@pytest.fixture
def database(tmp_path: Path, pump: Pump) -> Iterator[Database]:
    with running(store_url(tmp_path), pump) as database:
        pump.result(database.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER)")) and None))
        yield database


def put(n: int, entered: Gate | None = None, gate: Gate | None = None) -> Callable[[Connection], None]:
    def insert(connection: Connection) -> None:
        if entered is not None and gate is not None:
            entered.put(None)
            gate.get(timeout=60)
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})

    return insert


def numbers(pump: Pump, database: Database) -> list[int]:
    return pump.result(database.read(lambda connection: list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())))


def pass_time(pump: Pump, seconds: float) -> None:
    for _ in range(int(seconds / EVERY) + 1):
        pump.advance(EVERY)


def test_what_the_writer_has_not_begun_is_dropped_and_the_rest_is_unknown(database: Database, pump: Pump, gate: Gate) -> None:
    entered: Gate = queue.SimpleQueue()
    first = deferred(database.write(put(1, entered, gate)))
    pump.turn()
    entered.get(timeout=60)
    second = deferred(database.write(put(2)))
    pass_time(pump, OVER)
    assert str(pump.failure(first)).endswith("whether it was written is not known")
    assert str(pump.failure(second)).endswith("nothing was written")
    gate.put(None)
    third = deferred(database.write(put(3)))
    pump.result(third)
    assert numbers(pump, database) == [1, 3]


def test_a_slow_write_means_not_ready_until_it_is_over(database: Database, pump: Pump, gate: Gate) -> None:
    entered: Gate = queue.SimpleQueue()
    write = deferred(database.write(put(1, entered, gate)))
    pump.turn()
    entered.get(timeout=60)
    database.check_writes()
    pump.advance(SLOW_WRITE + 1)
    with pytest.raises(Unavailable, match="has been under way for more than 5 seconds"):
        database.check_writes()
    assert database.hangs(SLOW_WRITE)
    gate.put(None)
    pump.result(write)
    database.check_writes()
    assert not database.hangs(0.0)


def test_a_read_that_hangs_is_given_up_on(database: Database, pump: Pump, gate: Gate) -> None:
    read = deferred(database.read(lambda connection: gate.get(timeout=60)))
    pump.turn()
    pump.advance(STORE_PATIENCE)
    assert str(pump.failure(read)) == "store: no answer in 10 seconds"
    gate.put(None)


def test_shared_reads_that_hang_and_those_behind_them_are_given_up_on(database: Database, pump: Pump, gate: Gate) -> None:
    entered: Gate = queue.SimpleQueue()

    def held(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
        entered.put(None)
        gate.get(timeout=60)
        return dict.fromkeys(keys, 0)

    shared = database.shared(held)
    rounds = []
    for n in range(2):
        rounds.append(shared.ask(n))
        pump.advance(1.0)  # the first one is slow by then, and the second has a round of its own
        entered.get(timeout=60)
    behind = shared.ask(3)
    pass_time(pump, OVER)
    for each in (*rounds, behind):
        assert str(pump.failure(each)) == "no answer in 10 seconds"
    for _ in range(3):
        gate.put(None)
    assert pump.result(shared.ask(4)) == 0


def test_nothing_is_looked_at_while_nothing_is_under_way(database: Database, pump: Pump) -> None:
    pump.result(database.write(put(1)))
    pass_time(pump, OVER)
    assert pump.getDelayedCalls() == []


def test_what_comes_after_the_cut_fails_at_once(database: Database, pump: Pump) -> None:
    database.cut()
    for late in (database.write(put(1)), database.read(lambda connection: None)):
        assert isinstance(pump.failure(late), Unavailable)
