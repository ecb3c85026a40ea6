"""The history of sign-ins: counted in memory, written together, bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from gateway.accounts.lockout import DAY
from gateway.errors import Unavailable
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.schema import sign_in
from gateway.store.sign_ins import LINES_A_DAY, MAX_WAITING, OTHERS, Line, SqlSignInHistory, recent
from tests.pump import Pump, deferred
from tests.servers.databases import Postgresql
from tests.stores import KINDS, latin1_url, running, store_url, url_of

ANN, NETWORK = "a:7", "192.0.2.1/32"


class Clock:
    """The store's clock, moved by hand from where it is."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, pump: Pump) -> Iterator[Database]:
    with running(url_of(request.param, tmp_path, request), pump) as database:
        yield database


@pytest.fixture
def clock(database: Database, pump: Pump) -> Clock:
    return Clock(pump.result(database.read(lambda connection: float(connection.execute(select(now())).scalar_one()))))


@pytest.fixture
def history(database: Database, clock: Clock) -> SqlSignInHistory:
    return SqlSignInHistory(database, clock)


def lines(database: Database, pump: Pump, subject: str = ANN) -> list[Line]:
    return pump.result(database.read(lambda connection: recent(connection, subject, 1000)))


def counts(database: Database, pump: Pump) -> dict[tuple[str, str, str], int]:
    return {(line.network, line.mechanism, line.result): line.count for line in lines(database, pump)}


def test_attempts_are_counted_by_network_mechanism_and_result(
    history: SqlSignInHistory, database: Database, pump: Pump
) -> None:
    history.note(ANN, NETWORK, "PLAIN", "ok")
    history.note(ANN, NETWORK, "PLAIN", "ok")
    pump.result(history.flush())
    history.note(ANN, NETWORK, "PLAIN", "ok")
    history.note(ANN, NETWORK, "LOGIN", "stale")
    history.note(ANN, "198.51.100.1/32", "PLAIN", "wrong")
    history.note("a:8", NETWORK, "PLAIN", "wrong")
    pump.result(history.flush())
    assert counts(database, pump) == {
        (NETWORK, "PLAIN", "ok"): 3,
        (NETWORK, "LOGIN", "stale"): 1,
        ("198.51.100.1/32", "PLAIN", "wrong"): 1,
    }
    pump.result(history.flush())  # nothing twice
    assert counts(database, pump)[NETWORK, "PLAIN", "ok"] == 3


def test_times_span_the_days(history: SqlSignInHistory, database: Database, clock: Clock, pump: Pump) -> None:
    start = clock.seconds
    for days in (3, 2, 0):
        clock.seconds = start - days * DAY
        history.note(ANN, NETWORK, "PLAIN", "ok")
        history.note(ANN, NETWORK, "PLAIN", "wrong" if days else "ok")
        pump.result(history.flush())
    first, second = lines(database, pump)
    assert (first.result, first.count, second.result, second.count) == ("ok", 4, "wrong", 2)
    assert [first.first, first.last] == pytest.approx([3 * DAY, 0.0], abs=20)
    assert [second.first, second.last] == pytest.approx([3 * DAY, 2 * DAY], abs=20)
    assert pump.result(database.read(lambda c: c.execute(select(func.count()).select_from(sign_in)).scalar())) == 5


def test_logins_without_an_account_have_no_history(history: SqlSignInHistory, database: Database, pump: Pump) -> None:
    history.note("l:ann@example.com", NETWORK, "PLAIN", "unknown")
    pump.result(history.flush())
    assert lines(database, pump, "l:ann@example.com") == []


def test_further_networks_of_a_day_share_lines(history: SqlSignInHistory, database: Database, clock: Clock, pump: Pump) -> None:
    history.note(ANN, NETWORK, "PLAIN", "ok")
    for n in range(LINES_A_DAY - 1):
        history.note(ANN, f"10.0.0.{n}/32", "PLAIN", "wrong")
    pump.result(history.flush())
    for n in range(30):
        history.note(ANN, f"10.0.1.{n}/32", "PLAIN", "wrong")
    history.note(ANN, NETWORK, "PLAIN", "ok")
    history.note("a:8", "10.0.1.1/32", "PLAIN", "wrong")
    pump.result(history.flush())
    found = counts(database, pump)
    assert len(found) == LINES_A_DAY + 1
    assert (found[OTHERS, "PLAIN", "wrong"], found[NETWORK, "PLAIN", "ok"]) == (30, 2)
    assert [line.network for line in lines(database, pump, "a:8")] == ["10.0.1.1/32"]
    clock.seconds += DAY
    history.note(ANN, "10.0.2.1/32", "PLAIN", "wrong")
    pump.result(history.flush())
    assert counts(database, pump)["10.0.2.1/32", "PLAIN", "wrong"] == 1  # a new day has room


def test_a_store_that_is_away_loses_nothing_that_fits(tmp_path: Path, clock: Clock, pump: Pump) -> None:
    (tmp_path / "later").mkdir()
    with running(f"sqlite:///{tmp_path}/later/gateway.db", pump) as away:
        history = SqlSignInHistory(away, clock)
        history.note(ANN, NETWORK, "PLAIN", "ok")
        failing = deferred(history.flush())
        clock.seconds += 1000
        history.note(ANN, NETWORK, "PLAIN", "ok")
        assert isinstance(pump.failure(failing), Unavailable)
        for n in range(MAX_WAITING + 5):
            history.note(f"a:{n}", NETWORK, "PLAIN", "wrong")
        history.note(ANN, NETWORK, "PLAIN", "ok")
        store_url(tmp_path / "later")
        pump.result(history.flush())
        assert counts(away, pump) == {(NETWORK, "PLAIN", "ok"): 3, (NETWORK, "PLAIN", "wrong"): 1}
        spans = {line.result: line.first - line.last for line in lines(away, pump)}
        assert spans == {"ok": 1000.0, "wrong": 0.0}
        assert lines(away, pump, f"a:{MAX_WAITING - 2}") != []
        assert lines(away, pump, f"a:{MAX_WAITING + 4}") == []


def test_what_is_noted_while_a_write_is_under_way_is_kept(history: SqlSignInHistory, database: Database, pump: Pump) -> None:
    history.note(ANN, NETWORK, "PLAIN", "ok")
    writing = deferred(history.flush())
    history.note(ANN, NETWORK, "PLAIN", "ok")
    pump.result(writing)
    pump.result(history.flush())
    assert counts(database, pump) == {(NETWORK, "PLAIN", "ok"): 2}


def test_sweeping_takes_days_that_are_over_for_30(
    history: SqlSignInHistory, database: Database, clock: Clock, pump: Pump
) -> None:
    start = clock.seconds
    for days in (0, 29, 32, 33, 34):
        clock.seconds = start - days * DAY
        history.note(ANN, NETWORK, "PLAIN", "ok")
    pump.result(history.flush())
    assert [pump.result(history.sweep(2)) for _ in range(3)] == [2, 1, 0]

    def days_left(connection: Connection) -> int:
        return connection.execute(select(func.count()).select_from(sign_in)).scalar_one()

    assert pump.result(database.read(days_left)) == 2


def test_a_line_that_the_store_cannot_hold_keeps_no_other_from_being_written(postgresql: Postgresql, pump: Pump) -> None:
    others = [f"a:{n}" for n in range(600)]  # more than one transaction
    with running(latin1_url(postgresql), pump) as database:
        history = SqlSignInHistory(database, Clock(1.8e9))
        for subject in (*others, "a:\0", "a:日本", "a:3\0", "a:é"):
            history.note(subject, NETWORK, "PLAIN", "ok")
        pump.result(history.flush())
        assert {line.count for subject in (*others, "a:é") for line in lines(database, pump, subject)} == {1}
        history.note(ANN, NETWORK, "PLAIN", "ok")
        pump.result(history.flush())
        assert counts(database, pump) == {(NETWORK, "PLAIN", "ok"): 2}
        written = select(func.count()).select_from(sign_in)
        assert pump.result(database.read(lambda connection: connection.execute(written).scalar_one())) == len(others) + 1
