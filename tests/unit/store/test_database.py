"""Group commit: one transaction for all, each item by itself, and a writer that survives what a disk does."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, text
from twisted.internet.defer import CancelledError, Deferred

from gateway.errors import NotFound, StorageFull, Unavailable
from gateway.metrics import Metrics
from gateway.store.database import MAX_GROUP, Database
from gateway.store.engine import opened
from tests.pump import Pump
from tests.servers.databases import Postgresql
from tests.stores import KINDS, postgresql_url, running, url_of


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path, request)


@pytest.fixture
def database(url: str, pump: Pump, metrics: Metrics) -> Iterator[Database]:
    with running(url, pump, metrics) as database:
        pump.result(database.write(_make_table))
        yield database


def _make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)"))


def put(n: int) -> Callable[[Connection], int]:
    def insert(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})
        return n

    return insert


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


def _sample(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(f"smtp_gateway_{name}") or 0.0


def _held_up(database: Database, pump: Pump) -> tuple[Deferred[None], Callable[[], None]]:
    """Keep the writer busy until the second of the two is called: what comes meanwhile is one group."""
    import queue

    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    begun: list[None] = []

    def hold(connection: Connection) -> None:
        pump.callFromThread(begun.append, None)
        gate.get(timeout=60)

    result = database.write(hold)
    pump.until(lambda: bool(begun))
    return result, lambda: gate.put(None)


def test_what_is_written_is_committed_for_others(database: Database, pump: Pump, url: str) -> None:
    assert pump.result(database.write(put(1))) == 1
    assert pump.result(database.read(numbers)) == [1]
    with opened(url, write=False) as other:
        assert numbers(other) == [1]


def test_those_who_wait_share_commits_of_bounded_size(database: Database, pump: Pump, metrics: Metrics) -> None:
    before = _sample(metrics, "store_commit_items_count")
    held, let_go = _held_up(database, pump)
    waiting = [database.write(put(n)) for n in range(MAX_GROUP + 5)]
    let_go()
    pump.result(held)
    assert [pump.result(d) for d in waiting] == list(range(MAX_GROUP + 5))
    pump.result(database.read(numbers))
    assert _sample(metrics, "store_commit_items_count") - before == 3  # the one that held up, a full group, the rest
    assert _sample(metrics, "store_commit_seconds_count") == _sample(metrics, "store_commit_items_count")


def test_an_item_that_fails_fails_alone(database: Database, pump: Pump, metrics: Metrics) -> None:
    pump.result(database.write(put(3)))

    def half(connection: Connection) -> None:
        put(4)(connection)
        raise NotFound("changed my mind")

    held, let_go = _held_up(database, pump)
    results: list[Deferred[Any]] = [
        database.write(put(1)),
        database.write(half),
        database.write(put(3)),
        database.write(put(2)),
    ]
    let_go()
    pump.result(held)
    assert pump.result(results[0]) == 1
    assert isinstance(pump.failure(results[1]), NotFound)
    assert isinstance(pump.failure(results[2]), Unavailable)  # 3 is there already
    assert pump.result(results[3]) == 2
    assert pump.result(database.read(numbers)) == [1, 2, 3]
    assert _sample(metrics, "store_errors_total") == 1


def test_those_who_want_the_same_are_served_together(database: Database, pump: Pump) -> None:
    served: list[list[int]] = []

    def put_all(connection: Connection, wanted: Sequence[int]) -> list[str]:
        served.append(list(wanted))
        for n in wanted:
            put(n)(connection)
        return [f"put {n}" for n in wanted]

    held, let_go = _held_up(database, pump)
    waiting: list[Deferred[Any]] = [
        database.write_together(put_all, 2, order="b"),
        database.write(put(4)),
        database.write_together(put_all, 1, order="a"),
        database.write(put(5), order="c"),
        database.write_together(put_all, 3, order="c"),
    ]
    let_go()
    pump.result(held)
    assert [pump.result(each) for each in waiting] == ["put 2", 4, "put 1", 5, "put 3"]
    assert served in ([[1, 2], [3]], [[1, 2, 3]])  # the one with its order may come before it or after it
    assert pump.result(database.read(numbers)) == [1, 2, 3, 4, 5]


def test_of_those_served_together_one_that_fails_fails_alone(database: Database, pump: Pump) -> None:
    served: list[list[int]] = []

    def put_all(connection: Connection, wanted: Sequence[int]) -> list[int]:
        served.append(list(wanted))
        for n in wanted:
            put(n)(connection)
            if n == 2:
                raise NotFound("changed my mind")
        return list(wanted)

    held, let_go = _held_up(database, pump)
    waiting = [database.write_together(put_all, n) for n in (1, 2, 3)]
    let_go()
    pump.result(held)
    assert pump.result(waiting[0]) == 1
    assert isinstance(pump.failure(waiting[1]), NotFound)
    assert pump.result(waiting[2]) == 3
    assert served == [[1, 2, 3], [1], [2], [3]]
    assert pump.result(database.read(numbers)) == [1, 3]


def test_what_is_written_in_one_turn_of_the_reactor_is_one_group(database: Database, pump: Pump, metrics: Metrics) -> None:
    before = _sample(metrics, "store_commit_items_count")
    waiting = [database.write(put(n)) for n in range(20)]
    assert [pump.result(each) for each in waiting] == list(range(20))
    assert _sample(metrics, "store_commit_items_count") - before == 1


def test_a_group_runs_in_the_order_that_all_machines_keep(database: Database, pump: Pump) -> None:
    held, let_go = _held_up(database, pump)
    ran: list[str] = []
    waiting = [database.write(lambda _, name=name: ran.append(name), order=name[0]) for name in ("b1", "c", "a", "b2")]  # type: ignore[misc]
    waiting.append(database.write(lambda _: ran.append("whoever")))
    let_go()
    pump.result(held)
    assert [pump.result(each) for each in waiting] == [None] * 5
    assert ran == ["whoever", "a", "b1", "b2", "c"]


def test_an_error_names_no_value(database: Database, pump: Pump) -> None:
    def secret(connection: Connection) -> None:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": "hunter2"})

    error = pump.failure(database.write(secret))
    assert isinstance(error, Unavailable)
    assert "hunter2" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_full_disk_of_a_server_is_told_apart(postgresql: Postgresql, pump: Pump) -> None:
    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("DO 'BEGIN RAISE disk_full; END'")

    with running(postgresql_url(postgresql), pump) as database:
        assert isinstance(pump.failure(database.write(fill)), StorageFull)
        pump.result(database.write(_make_table))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_apart_and_passes(database: Database, pump: Pump) -> None:
    def fill(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 1}"))
        connection.execute(text("CREATE TABLE big (data BLOB)"))
        connection.execute(text("INSERT INTO big VALUES (zeroblob(1000000))"))

    held, let_go = _held_up(database, pump)
    results: list[Deferred[Any]] = [database.write(fill), database.write(put(1))]
    let_go()
    pump.result(held)
    assert isinstance(pump.failure(results[0]), StorageFull)

    def room(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count = 1000000"))

    pump.result(database.write(room))
    assert pump.result(database.write(put(2))) == 2
    assert isinstance(pump.failure(results[1]), StorageFull)  # SQLite undoes the whole transaction
    assert pump.result(database.read(numbers)) == [2]


def test_when_the_database_undoes_the_group_all_of_it_fails_and_the_next_works(database: Database, pump: Pump) -> None:
    def undone(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")  # what SQLite does by itself on some I/O errors
        connection.exec_driver_sql("SELECT * FROM nowhere")

    held, let_go = _held_up(database, pump)
    results: list[Deferred[Any]] = [database.write(put(1)), database.write(undone), database.write(put(2))]
    let_go()
    pump.result(held)
    assert all(isinstance(pump.failure(result), Unavailable) for result in results)
    assert pump.result(database.write(put(3))) == 3
    assert pump.result(database.read(numbers)) == [3]


def test_a_commit_that_fails_fails_all_with_an_exception_of_their_own(database: Database, pump: Pump, metrics: Metrics) -> None:
    def owe(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE owed (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"))
        connection.execute(text("INSERT INTO owed VALUES (99)"))

    held, let_go = _held_up(database, pump)
    results: list[Deferred[Any]] = [database.write(put(1)), database.write(owe)]
    let_go()
    pump.result(held)
    errors = list(map(pump.failure, results))
    assert [type(error) for error in errors] == [Unavailable] * 2
    assert errors[0] is not errors[1]
    assert _sample(metrics, "store_errors_total") == 1
    pump.result(database.write(put(2)))
    assert pump.result(database.read(numbers)) == [2]


def test_a_reader_cannot_write(database: Database, pump: Pump) -> None:
    assert isinstance(pump.failure(database.read(put(1))), Unavailable)


def test_a_reader_does_not_wait_for_the_writer(database: Database, pump: Pump) -> None:
    held, let_go = _held_up(database, pump)
    assert pump.result(database.read(numbers)) == []
    let_go()
    pump.result(held)


def test_a_caller_that_gives_up_disturbs_nobody(database: Database, pump: Pump) -> None:
    held, let_go = _held_up(database, pump)
    given_up, kept = database.write(put(1)), database.write(put(2))
    given_up.cancel()
    let_go()
    pump.result(held)
    assert isinstance(pump.failure(given_up), CancelledError)
    assert pump.result(kept) == 2


def test_stopping_commits_what_waits_and_refuses_the_rest(url: str, pump: Pump, tmp_path: Path) -> None:
    with running(url, pump) as database:
        pump.result(database.write(_make_table))
        last = [database.write(put(n)) for n in range(20)]
        stopped = database.stop()
        refused: list[Deferred[Any]] = [database.write(put(99)), database.read(numbers)]
        pump.result(stopped)
        assert [pump.result(d) for d in last] == list(range(20))
        assert all(isinstance(pump.failure(d), Unavailable) for d in refused)
    assert not (tmp_path / "gateway.db-wal").exists()  # of SQLite
    with opened(url, write=False) as connection:
        assert numbers(connection) == list(range(20))


def test_a_store_that_is_not_there_is_unavailable(pump: Pump, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/none.db", reactor=pump, metrics=Metrics(CollectorRegistry()), clock=lambda: 0.0)
    database.start()
    assert isinstance(pump.failure(database.write(put(1))), Unavailable)
    assert isinstance(pump.failure(database.read(numbers)), Unavailable)
    pump.result(database.stop())
