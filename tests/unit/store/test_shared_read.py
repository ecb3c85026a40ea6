"""Reads that callers share: who is in which round, and whose trouble stays whose. What a slow round does: test_directory.py."""

import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError
from twisted.internet.defer import CancelledError

from gateway.errors import Unavailable
from gateway.store.database import Database
from gateway.store.failures import Unfit
from gateway.store.shared_read import MAX_KEYS, SLOW
from tests.pump import Pump
from tests.statements import statements
from tests.stores import running, store_url


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def database(tmp_path: Path, pump: Pump) -> Iterator[Database]:
    with running(store_url(tmp_path), pump) as database:
        yield database


class Doubles:
    """A kind of thing to ask: twice the number."""

    def __init__(self) -> None:
        self.rounds: list[Sequence[int]] = []

    def read(self, connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
        self.rounds.append(numbers)
        return {number: connection.execute(text("SELECT 2 * :n"), {"n": number}).scalar_one() for number in numbers}


def no_such_table(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
    return {key: connection.execute(text("SELECT 1 FROM nothing")).scalar_one() for key in keys}


def forgetful(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
    """A bug: no answer for one of its keys."""
    return dict.fromkeys(keys[1:], 0)


def test_who_asks_in_one_turn_is_in_one_round_whatever_they_ask(database: Database, pump: Pump) -> None:
    one, other = Doubles(), Doubles()
    asked = [database.shared(one.read), database.shared(other.read)]
    with statements() as seen:
        results = [asked[n % 2].ask(n % 4) for n in range(12)]
        assert [pump.result(each) for each in results] == [n % 4 * 2 for n in range(12)]
    assert (one.rounds, other.rounds) == ([[0, 2]], [[1, 3]])
    assert len(seen) == 4  # and no transaction is begun


def test_a_round_has_its_bound_and_the_rest_the_next_one(database: Database, pump: Pump) -> None:
    doubles = Doubles()
    shared = database.shared(doubles.read)
    results = [shared.ask(n) for n in range(2 * MAX_KEYS + 1)]
    assert [pump.result(each) for each in results] == [2 * n for n in range(2 * MAX_KEYS + 1)]
    assert [len(keys) for keys in doubles.rounds] == [MAX_KEYS, MAX_KEYS, 1]


def test_what_goes_wrong_with_one_kind_is_not_the_others_trouble(database: Database, pump: Pump) -> None:
    doubles = database.shared(Doubles().read)
    broken = database.shared(no_such_table)
    lost = database.shared(forgetful)
    errors = [broken.ask(n) for n in range(2)]
    unanswered, fine = lost.ask(1), doubles.ask(4)
    failures = [pump.failure(each) for each in (*errors, unanswered)]
    assert [type(error) for error in failures] == [Unavailable, Unavailable, KeyError]
    assert failures[0] is not failures[1]
    assert pump.result(fine) == 8
    assert pump.result(doubles.ask(5)) == 10


ODD = [b"\0text".decode(), "\udc80", "x" * 10]


def picky(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """One statement for all. It fails for what cannot be written, and for a key that is too long by a bug."""
    if any(len(key) > 5 for key in keys):
        raise OverflowError("a bug with one key")
    query = text("SELECT :keys").bindparams(keys=",".join(keys))
    connection.execute(query).scalar_one()
    if "\0" in ",".join(keys):
        raise DataError("SELECT", None, Exception("no NUL here"))
    return {key: len(key) for key in keys}


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_a_value_that_fails_a_read_fails_its_own_call_alone(database: Database, pump: Pump, odd: str) -> None:
    shared = database.shared(picky)
    calls = {key: shared.ask(key) for key in ("a", odd, "bb", "ccc")}
    twin = shared.ask(odd)
    errors = [pump.failure(calls.pop(odd)), pump.failure(twin)]
    assert [pump.result(call) for call in calls.values()] == [1, 2, 3]
    assert [type(error) for error in errors] == [OverflowError if len(odd) > 5 else Unfit] * 2
    assert odd not in str(errors[0])
    assert pump.result(shared.ask("dddd")) == 4


def test_a_database_that_is_away_is_not_asked_again_for_each(database: Database, pump: Pump) -> None:
    asked: list[Sequence[int]] = []

    def away(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
        asked.append(keys)
        return no_such_table(connection, keys)

    shared = database.shared(away)
    assert [type(pump.failure(call)) for call in [shared.ask(n) for n in range(3)]] == [Unavailable] * 3
    assert asked == [[0, 1, 2]]


def test_who_is_answered_may_ask_in_the_next_round(database: Database, pump: Pump) -> None:
    doubles = Doubles()
    shared = database.shared(doubles.read)
    again = [shared.ask(n).addCallback(shared.ask) for n in (1, 2)]
    assert [pump.result(each) for each in again] == [4, 8]
    assert doubles.rounds == [[1, 2], [2, 4]]


def test_there_is_one_round_at_a_time_and_who_gives_up_is_in_none(database: Database, pump: Pump) -> None:
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    rounds: list[Sequence[int]] = []

    def held(connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
        rounds.append(numbers)
        gate.get(timeout=60)
        return dict.fromkeys(numbers, 0)

    shared = database.shared(held)
    first = shared.ask(1)
    pump.advance(0)
    later = [shared.ask(n) for n in (2, 3)]
    pump.advance(SLOW / 2)
    assert list(shared.waiting.values()) == [2, 3]
    later[0].cancel()
    assert isinstance(pump.failure(later[0]), CancelledError)
    for _ in range(2):
        gate.put(None)
    assert [pump.result(first), pump.result(later[1])] == [0, 0]
    assert rounds == [[1], [3]]


def test_after_the_end_there_are_no_reads(database: Database, pump: Pump) -> None:
    shared = database.shared(Doubles().read)
    pump.result(database.stop())
    assert isinstance(pump.failure(shared.ask(1)), Unavailable)
