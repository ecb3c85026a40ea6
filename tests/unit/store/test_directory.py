"""The login table read live: which row, how its columns read, who shares a query, and what an outage is."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import event
from twisted.internet.defer import CancelledError, ensureDeferred

from gateway.accounts.model import LoginRow
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.directory import PATIENCE, THREADS, SqlDirectory
from gateway.store.login_table import LoginTable, as_id, can_be_login, daily, is_true
from gateway.store.shared_read import SLOW
from tests.logins import PLAIN, accounts, run_sql
from tests.pump import Pump

HASH = "$2b$04$abcdefghijklmnopqrstuu"


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@contextmanager
def reading(settings: Accounts, pump: Pump, metrics: Metrics, aliases: str = "") -> Iterator[SqlDirectory]:
    directory = SqlDirectory(settings, aliases=aliases, reactor=pump, metrics=metrics, clock=lambda: 0.0)
    directory.start()
    yield directory
    pump.result(directory.stop())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_sql(tmp_path, PLAIN)
    rows = [(1, "demo@example.com", HASH, 1), (2, "Off@Example.com", HASH, 0), (3, "none@example.com", None, 1)]
    run_sql(tmp_path, "INSERT INTO users VALUES (?, ?, ?, ?)", *rows)
    return tmp_path


@pytest.fixture
def directory(folder: Path, pump: Pump, metrics: Metrics) -> Iterator[SqlDirectory]:
    with reading(accounts(folder), pump, metrics) as directory:
        yield directory


@pytest.mark.parametrize(
    ("login", "row"),
    [
        ("demo@example.com", LoginRow("1", "demo@example.com", HASH)),
        ("DEMO@Example.COM", LoginRow("1", "demo@example.com", HASH)),
        ("off@example.com", LoginRow("2", "Off@Example.com", HASH, active=False)),
        ("none@example.com", LoginRow("3", "none@example.com", "")),
        ("nobody@example.com", None),
        ("demo@example.com ", None),
        ("d\u00e9mo@example.com", None),
        ("%", None),
        ("' OR 1=1 --", None),
        ("demo@example.com\x00", None),
        ("demo\n@example.com", None),
        ("demo\ud800@example.com", None),
        ("", None),
        ("x" * 255, None),
    ],
)
def test_find(directory: SqlDirectory, pump: Pump, login: str, row: LoginRow | None) -> None:
    assert pump.result(directory.find(login)) == row


def test_case_counts_when_the_table_says_so(folder: Path, pump: Pump, metrics: Metrics) -> None:
    with reading(accounts(folder, case_sensitive=True), pump, metrics) as directory:
        assert pump.result(directory.find("off@example.com")) is None
        assert pump.result(directory.find("Off@Example.com")) is not None


def test_a_change_counts_for_the_next_call(directory: SqlDirectory, folder: Path, pump: Pump) -> None:
    for stored in ("$2b$04$one", "$2b$04$two"):
        run_sql(folder, f"UPDATE users SET password_hash = '{stored}' WHERE id = 1")
        row = pump.result(directory.find("demo@example.com"))
        assert row is not None
        assert row.stored == stored
    run_sql(folder, "DELETE FROM users")
    assert pump.result(directory.find("demo@example.com")) is None


def test_two_rows_that_differ_in_case_are_nobody(tmp_path: Path, pump: Pump, metrics: Metrics, capsys: Any) -> None:
    run_sql(tmp_path, "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, password_hash, is_active)")
    run_sql(
        tmp_path,
        "INSERT INTO users VALUES (?, ?, ?, 1)",
        (1, "a@b.example", HASH),
        (2, "A@b.example", HASH),
        (3, "c@b.example", HASH),
    )
    with reading(accounts(tmp_path), pump, metrics) as directory:
        assert isinstance(pump.failure(directory.find("a@b.example")), Unavailable)
        assert pump.result(directory.find("c@b.example")) is not None
    logged = capsys.readouterr().out
    assert "letter case" in logged
    assert "b.example" not in logged
    with reading(accounts(tmp_path, case_sensitive=True), pump, metrics) as directory:
        found = pump.result(directory.find("A@b.example"))
        assert found is not None
        assert found.id == "2"


def test_those_who_wait_share_a_query_that_starts_after_them(
    directory: SqlDirectory, folder: Path, pump: Pump, metrics: Metrics
) -> None:
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    begun: list[None] = []

    def hold(*arguments: object) -> None:
        pump.callFromThread(begun.append, None)
        gate.get(timeout=60)

    event.listen(directory._engine, "after_cursor_execute", hold, once=True)
    early = [ensureDeferred(directory.find("demo@example.com")) for _ in range(3)]
    pump.until(lambda: bool(begun))  # it has read the row
    run_sql(folder, "UPDATE users SET password_hash = 'new' WHERE id = 1")
    late = [ensureDeferred(directory.find(login)) for login in ("demo@example.com", "DEMO@example.com", "off@example.com") * 20]
    gate.put(None)
    assert {row.stored for row in map(pump.result, early) if row} == {HASH}
    rows = [pump.result(one) for one in late]
    assert [row.stored for row in rows[:3] if row] == ["new", "new", HASH]
    assert metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") == 2


def test_queries_that_hang_fail_their_callers_and_let_the_others_through(
    directory: SqlDirectory, pump: Pump, metrics: Metrics
) -> None:
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    begun: list[None] = []

    def hang(*arguments: object) -> None:
        pump.callFromThread(begun.append, None)
        gate.get(timeout=60)

    event.listen(directory._engine, "before_cursor_execute", hang)
    hung = []
    for number in range(THREADS - 1):
        hung.append(ensureDeferred(directory.find("demo@example.com")))
        pump.advance(SLOW)  # the one before is a slow one by now
        pump.until(lambda number=number: len(begun) > number)  # type: ignore[misc]
    event.remove(directory._engine, "before_cursor_execute", hang)
    late = ensureDeferred(directory.find("off@example.com"))
    pump.advance(SLOW)
    for one in (late, directory.find("off@example.com")):
        assert pump.result(one) is not None
    pump.advance(PATIENCE)
    assert all(isinstance(pump.failure(one), Unavailable) for one in hung)
    assert metrics.registry.get_sample_value("smtp_gateway_accounts_errors_total") == len(hung)
    for _ in hung:
        gate.put(None)
    assert pump.result(directory.find("demo@example.com")) is not None


def test_a_table_that_hangs_takes_as_many_threads_as_there_are(directory: SqlDirectory, pump: Pump, metrics: Metrics) -> None:
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    begun: list[None] = []

    def hang(*arguments: object) -> None:
        pump.callFromThread(begun.append, None)
        gate.get(timeout=60)

    event.listen(directory._engine, "before_cursor_execute", hang)
    hung = []
    for _ in range(THREADS + 3):
        hung.append(ensureDeferred(directory.find("demo@example.com")))
        pump.advance(SLOW)
    pump.until(lambda: len(begun) == THREADS)
    pump.advance(PATIENCE)
    assert all(isinstance(pump.failure(one), Unavailable) for one in hung)
    for _ in range(THREADS):
        gate.put(None)
    event.remove(directory._engine, "before_cursor_execute", hang)
    assert pump.result(directory.find("demo@example.com")) is not None
    directory.stop()  # a query is counted by its thread, perhaps after the answer of the last one
    # Those who gave up are not asked for any more
    assert metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") == THREADS + 1


def test_who_gives_up_waits_no_more(directory: SqlDirectory, pump: Pump) -> None:
    gone, stays = (ensureDeferred(directory.find("demo@example.com")) for _ in range(2))
    gone.cancel()
    assert isinstance(pump.failure(gone), CancelledError)
    assert pump.result(stays) is not None


def test_an_outage_stops_no_start_and_passes(tmp_path: Path, pump: Pump, metrics: Metrics) -> None:
    with reading(accounts(tmp_path), pump, metrics) as directory:
        calls = [
            directory.find("demo@example.com"),
            directory.find("demo@example.com"),
            directory.reachable(),
            directory.sample(5),
        ]
        errors = list(map(pump.failure, calls))
        assert all(type(error) is Unavailable for error in errors)
        assert len(set(map(id, errors))) == len(errors)
        assert not (tmp_path / "accounts.db").exists()
        run_sql(tmp_path, PLAIN)
        assert pump.result(directory.find("demo@example.com")) is None
        pump.result(directory.reachable())
    assert (metrics.registry.get_sample_value("smtp_gateway_accounts_errors_total") or 0) >= 3


def test_a_missing_column_is_unavailable_without_the_login(folder: Path, pump: Pump, metrics: Metrics) -> None:
    with reading(accounts(folder, columns={"login": "mail"}), pump, metrics) as directory:
        error = pump.failure(directory.find("demo@example.com"))
    assert isinstance(error, Unavailable)
    assert "demo@" not in str(error)


def test_the_table_is_never_written(directory: SqlDirectory, pump: Pump) -> None:
    with directory._engine.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM users")


def test_aliases_are_keys_and_what_is_no_address_is_skipped(folder: Path, pump: Pump, metrics: Metrics) -> None:
    run_sql(folder, "CREATE TABLE aliases (account_id INTEGER, address TEXT)")
    run_sql(
        folder,
        "INSERT INTO aliases VALUES (?, ?)",
        (1, "Sales@Example.COM"),
        (1, "no address"),
        (1, None),
        (2, "other@example.com"),
    )
    with reading(accounts(folder), pump, metrics, aliases="aliases") as directory:
        assert pump.result(directory.aliases("1")) == {"sales@example.com"}
        assert pump.result(directory.aliases("99")) == frozenset()
    with reading(accounts(folder), pump, metrics) as directory:
        assert pump.result(directory.aliases("1")) == frozenset()


def test_the_sample_leaves_out_the_empty(directory: SqlDirectory, pump: Pump) -> None:
    assert set(pump.result(directory.sample(10))) == {HASH}


@pytest.mark.parametrize(
    ("value", "true", "not_", "null"),
    [
        (1, True, False, False),
        (0, False, True, False),
        (True, True, False, False),
        (Decimal(1), True, False, False),
        (None, False, True, True),
        ("t", True, False, False),
        ("TRUE ", True, False, False),
        ("yes", True, False, False),
        ("active", True, False, False),
        ("f", False, True, False),
        ("false", False, True, False),
        ("banned", False, True, False),
        ("", False, True, False),
        (b"\x01", True, False, False),
        (b"\x00", False, True, False),
        (b"1", True, False, False),
        (b"0", False, True, False),
        (b"", False, True, False),
        ("2024-01-01", False, True, False),
    ],
)
def test_active(tmp_path: Path, value: object, true: bool, not_: bool, null: bool) -> None:
    assert is_true(value) is true
    for active, wanted in (("flag", true), ("not:flag", not_), ("null:flag", null), ("", True)):
        table = LoginTable(accounts(tmp_path, columns={"active": active}), "sqlite")
        read = value is None if active.startswith("null:") else value  # the database answers "IS NULL" by itself
        assert table._is_active({"active": read}) is wanted


def test_optional_columns(tmp_path: Path, pump: Pump, metrics: Metrics) -> None:
    run_sql(tmp_path, "CREATE TABLE users (id, email, password_hash, size, daily, smtp)")
    rows = [
        ("a", HASH, 5_000_000, "20", 1),
        ("b", HASH, 0, -1, 0),
        ("c", HASH.encode(), None, None, None),
        ("d", HASH, "many", 0, "no"),
    ]
    run_sql(tmp_path, "INSERT INTO users VALUES ('u', ?, ?, ?, ?, ?)", *rows)
    columns = {"active": "", "max_message_size": "size", "daily_recipients": "daily", "smtp_enabled": "smtp"}
    with reading(accounts(tmp_path, columns=columns), pump, metrics) as directory:
        found = [pump.result(directory.find(login)) for login in "abcd"]
    assert found == [
        LoginRow("u", "a", HASH, max_message_size=5_000_000, daily_recipients=20),
        LoginRow("u", "b", HASH, smtp_enabled=False),
        LoginRow("u", "c", HASH),
        LoginRow("u", "d", HASH, smtp_enabled=False, daily_recipients=0),
    ]


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (None, None),
        (-1, None),
        ("", None),
        ("many", None),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("NaN"), None),
        (0, 0),
        ("0", 0),
        (False, 0),
        (1, 1),
        (b"20", 20),
        (" 20 ", 20),
        (Decimal("20.9"), 20),
        (2**31 - 1, 2**31 - 1),
        (10**30, 2**31 - 1),
        ("9" * 5000, None),
    ],
)
def test_daily_recipients(value: object, limit: int | None) -> None:
    """What cannot be read means the general limit, never none at all."""
    assert daily(value) == limit


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), ("x", "x"), (UUID(int=1), str(UUID(int=1))), (b"\x01\xff", "01ff"), (memoryview(b"\x02"), "02")],
)
def test_ids_are_text(value: object, text: str) -> None:
    assert as_id(value) == text


@pytest.mark.parametrize(
    ("dialect", "case_sensitive", "comparison"),
    [
        ("sqlite", False, 'app.users.email COLLATE "NOCASE"'),
        ("postgresql", False, "lower(app.users.email) IN"),
        ("mysql", False, "app.users.email IN"),
        ("postgresql", True, "app.users.email IN"),
    ],
)
def test_the_comparison_is_one_that_an_index_serves(
    tmp_path: Path, dialect: str, case_sensitive: bool, comparison: str
) -> None:
    table = LoginTable(accounts(tmp_path, table="app.users", case_sensitive=case_sensitive), dialect)
    assert comparison in str(table.by_login(folds=dialect == "mysql"))


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_two_accounts_never_become_one(tmp_path: Path, dialect: str) -> None:
    table = LoginTable(accounts(tmp_path), dialect)
    assert table.key("stra\u00dfe@b.example") != table.key("strasse@b.example")
    assert table.key("jos\u00e9@b.example") != table.key("jose@b.example")
    assert table.key("A@B.example") == table.key("a@b.EXAMPLE")


@pytest.mark.parametrize(
    ("text", "wanted"), [("a@b", True), ("\u00e4@b", True), ("a b", True), ("a\u200bb", False), ("\u00e4" * 128, False)]
)
def test_can_be_login(text: str, wanted: bool) -> None:
    assert can_be_login(text) is wanted
