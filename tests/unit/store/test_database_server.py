"""Group commit on PostgreSQL: what the server, the network and other machines do to it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, text

from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.database import TRIES, Database
from gateway.store.engine import opened, store_engine
from tests.pump import Pump
from tests.servers.databases import Postgresql
from tests.stores import postgresql_url, running

END_YOURSELF = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    url = postgresql_url(postgresql)
    with opened(url, write=True) as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    return url


@pytest.fixture
def database(url: str, pump: Pump, metrics: Metrics) -> Iterator[Database]:
    with running(url, pump, metrics) as database:
        yield database


def put(n: int) -> Callable[[Connection], int]:
    def insert(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})
        return n

    return insert


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


class Counted:
    """Runs `first` the first time and `then` afterwards, and puts 1 down before."""

    def __init__(self, first: str, then: str = "SELECT 1") -> None:
        self.first, self.then, self.runs = first, then, 0

    def __call__(self, connection: Connection) -> int:
        self.runs += 1
        put(1)(connection)
        connection.exec_driver_sql(self.first if self.runs == 1 else self.then)
        return self.runs


@pytest.mark.parametrize(
    "trouble",
    [
        *(f"DO 'BEGIN RAISE {one}; END'" for one in ("deadlock_detected", "serialization_failure")),
        "DO 'BEGIN RAISE read_only_sql_transaction; END'",
        END_YOURSELF,
    ],
)
def test_a_group_that_was_certainly_not_committed_is_run_again(database: Database, pump: Pump, trouble: str) -> None:
    item = Counted(trouble)
    assert pump.result(database.write(item)) == 2
    assert pump.result(database.read(numbers)) == [1]


def test_but_not_for_ever(database: Database, pump: Pump, metrics: Metrics) -> None:
    trouble = "DO 'BEGIN RAISE deadlock_detected; END'"
    item = Counted(trouble, trouble)
    assert isinstance(pump.failure(database.write(item)), Unavailable)
    assert item.runs == TRIES
    assert metrics.registry.get_sample_value("smtp_gateway_store_errors_total") == 1
    assert pump.result(database.write(put(2))) == 2
    assert pump.result(database.read(numbers)) == [2]


def test_a_commit_whose_result_is_unknown_is_not_tried_again(database: Database, pump: Pump) -> None:
    """The connection ends in the middle of the COMMIT."""
    function = f"CREATE FUNCTION goodbye() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM ({END_YOURSELF}); END$$"
    trigger = "CREATE CONSTRAINT TRIGGER last AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    pump.result(database.write(lambda connection: connection.exec_driver_sql(function) and None))
    pump.result(database.write(lambda connection: connection.exec_driver_sql(f"{trigger} EXECUTE FUNCTION goodbye()") and None))
    item = Counted("SELECT 1")
    assert isinstance(pump.failure(database.write(item)), Unavailable)
    assert item.runs == 1
    pump.result(database.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER last ON t") and None))
    assert pump.result(database.read(numbers)) == []


def test_a_restarted_server_is_not_noticed(database: Database, pump: Pump, postgresql: Postgresql) -> None:
    assert pump.result(database.write(put(1))) == 1
    assert pump.result(database.read(numbers)) == [1]
    postgresql.process.kill()
    postgresql.process.start()
    assert pump.result(database.write(put(2))) == 2
    assert pump.result(database.read(numbers)) == [1, 2]


def test_while_the_server_is_away_everything_is_refused_and_nothing_lost(
    database: Database, pump: Pump, postgresql: Postgresql
) -> None:
    assert pump.result(database.write(put(1))) == 1
    postgresql.process.kill()
    assert isinstance(pump.failure(database.write(put(2))), Unavailable)
    assert isinstance(pump.failure(database.read(numbers)), Unavailable)
    postgresql.process.start()
    assert pump.result(database.write(put(3))) == 3
    assert pump.result(database.read(numbers)) == [1, 3]


def test_two_machines_that_wait_for_each_other_both_get_through(url: str) -> None:
    """The server ends one of the two transactions, and that one is run again."""
    with opened(url, write=True) as connection:
        connection.execute(text("INSERT INTO t VALUES (1), (2)"))
    has_first: list[SimpleQueue[None]] = [SimpleQueue(), SimpleQueue()]

    def machine(us: int) -> int:
        def cross(connection: Connection) -> int:
            first, second = (1, 2) if us == 0 else (2, 1)
            connection.execute(text("UPDATE t SET n = n WHERE n = :n"), {"n": first})
            has_first[us].put(None)
            with suppress(Empty):  # the second time the other is not there to be waited for
                has_first[1 - us].get(timeout=0.5)
            connection.execute(text("UPDATE t SET n = n WHERE n = :n"), {"n": second})
            return us

        pump = Pump()
        with running(url, pump) as database:
            return pump.result(database.write(cross))

    with ThreadPoolExecutor() as machines:
        assert list(machines.map(machine, range(2))) == [0, 1]


SETTINGS = ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@pytest.mark.parametrize(("write", "mode"), [(True, ("read committed", "off")), (False, ("repeatable read", "on"))])
def test_how_the_store_is_opened(postgresql: Postgresql, url: str, write: bool, mode: tuple[str, str]) -> None:
    """Whatever the database says: a commit is on disk, and nobody waits for ever, for a machine that was stopped either."""
    name = url.rpartition("/")[2]
    for setting, value in (("synchronous_commit", "off"), ("default_transaction_isolation", "'serializable'")):
        postgresql.admin(f"ALTER DATABASE {name} SET {setting} = {value}")
    engine = store_engine(url, write=write)
    with engine.begin() as connection:
        found = [connection.exec_driver_sql(f"SHOW {setting}").scalar() for setting in SETTINGS]
        modes = ("transaction_isolation", "transaction_read_only")
        assert tuple(connection.exec_driver_sql(f"SHOW {one}").scalar() for one in modes) == mode
    engine.dispose()
    assert found == ["on" if write else "off", "5s", "5s", "10s"]


@pytest.mark.parametrize("chosen", ["local", "remote_apply"])
def test_what_an_operator_has_decided_about_stand_bys_stays(postgresql: Postgresql, url: str, chosen: str) -> None:
    postgresql.admin(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = {chosen}")
    with opened(url, write=True) as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == chosen
