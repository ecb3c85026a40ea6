"""What is SqlLockoutBook's own: shared reads, other processes, metrics, sweeping, indexes. The rest: tests/contract."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, func, insert, select
from twisted.internet.defer import CancelledError

from gateway.accounts.lockout import DAY, Attempt, Charge, Scope
from gateway.config import Lockout
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store import lockout_listing
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.lockouts import KEEP, SqlLockoutBook
from gateway.store.schema import failure, known_network, lockout
from gateway.store.shared_read import MAX_KEYS
from gateway.store.sign_ins import SqlSignInHistory, recent
from tests.pump import Pump
from tests.statements import statements
from tests.stores import KINDS, running, url_of

RULES = Lockout(failures=2, account_failures=4, network_accounts=3)


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path, request)


@pytest.fixture
def database(url: str, pump: Pump) -> Iterator[Database]:
    with running(url, pump) as database:
        yield database


def book_of(database: Database, metrics: Metrics | None = None, rules: Lockout = RULES) -> SqlLockoutBook:
    return SqlLockoutBook(database, rules, metrics or Metrics(CollectorRegistry()), hash_wait=5.0)


def attempt(n: int = 0, *, account: str = "a:7", network: int = 1) -> Attempt:
    return Attempt(account, "tag", f"192.0.2.{network}/32", "192.0.2.0/24", n)


def wrong(book: SqlLockoutBook, pump: Pump, *attempts: Attempt) -> None:
    for one in attempts:
        charge = pump.result(book.charge(one))
        assert charge.admitted
        pump.result(book.fail(charge))


def test_those_who_wait_share_reads(database: Database, pump: Pump) -> None:
    book = book_of(database)
    wrong(book, pump, attempt(0), attempt(1))
    with statements() as seen:
        waiting = [book.look(attempt(n, network=n % 3)) for n in range(60)]
        sheets = [pump.result(each) for each in waiting]
    assert [sheet.scope for sheet in sheets] == [Scope.ACCOUNT_NETWORK if n % 3 == 1 else None for n in range(60)]
    reads = [statement for statement, _ in seen if "SELECT" in statement]
    assert len(reads) == 1


def test_a_read_is_bounded(database: Database, pump: Pump) -> None:
    book = book_of(database)
    with statements() as seen:
        for each in [book.look(attempt(n, account=f"a:{n}")) for n in range(2 * MAX_KEYS + 1)]:
            pump.result(each)
    assert sum("SELECT" in statement for statement, _ in seen) == 3


def test_a_look_sees_what_was_written_before_it(database: Database, pump: Pump) -> None:
    book = book_of(database)
    early = [book.look(attempt()) for _ in range(5)]
    pump.advance(0)  # their read begins
    wrong(book, pump, attempt(0), attempt(1))
    assert pump.result(book.look(attempt())).scope is Scope.ACCOUNT_NETWORK
    for each in early:
        pump.result(each)


def test_one_that_gives_up_disturbs_nobody(database: Database, pump: Pump) -> None:
    book = book_of(database)
    waiting = [book.look(attempt()) for _ in range(3)]
    pump.advance(0)  # their read begins
    waiting += [book.look(attempt()) for _ in range(3)]
    waiting[0].cancel()
    waiting[4].cancel()
    assert [isinstance(pump.failure(waiting[n]), CancelledError) for n in (0, 4)] == [True, True]
    assert [pump.result(waiting[n]).locked for n in (1, 2, 3, 5)] == [None] * 4


def test_a_store_that_is_away_is_unavailable_to_each(tmp_path: Path, pump: Pump) -> None:
    with running(f"sqlite:///{tmp_path}/none.db", pump) as database:
        book = book_of(database)
        errors = [pump.failure(each) for each in [book.look(attempt()) for _ in range(4)]]
        assert [type(error) for error in errors] == [Unavailable] * 4
        assert len({id(error) for error in errors}) == 4
        charge = Charge(attempt(), known=False, id=1)
        for call in (book.charge(attempt()), book.fail(charge), book.refund(charge), book.succeed(attempt(), None)):
            assert isinstance(pump.failure(call), Unavailable)


def test_two_processes_share_the_limit(url: str, database: Database, pump: Pump) -> None:
    with running(url, pump) as other:
        books = [book_of(database, rules=Lockout()), book_of(other, rules=Lockout())]
        waiting = [books[n % 2].charge(attempt(n)) for n in range(50)]
        charges = [pump.result(each) for each in waiting]
        admitted = [charge for charge in charges if charge.admitted]
        assert len(admitted) == 5
        for charge in admitted:
            pump.result(books[0].fail(charge))
        assert pump.result(books[1].look(attempt())).scope is Scope.ACCOUNT_NETWORK


def test_an_exempt_attempt_writes_nothing(database: Database, pump: Pump) -> None:
    book = book_of(database, rules=Lockout.model_validate({"allow": ["192.0.2.1"]}))
    charge = pump.result(book.charge(attempt()))
    assert (charge.admitted, charge.id) == (True, None)
    pump.result(book.fail(charge))
    pump.result(book.refund(charge))
    assert count(database, pump, failure) == 0


def test_a_repeated_wrong_password_keeps_one_row(database: Database, pump: Pump) -> None:
    wrong(book_of(database), pump, *[attempt(1)] * 5)
    assert count(database, pump, failure) == 1


def test_locks_are_counted_and_logged_without_a_login(database: Database, pump: Pump) -> None:
    metrics = Metrics(CollectorRegistry())
    book = book_of(database, metrics)
    with structlog.testing.capture_logs() as logs:
        wrong(book, pump, attempt(0), attempt(1))
        wrong(book, pump, *(attempt(n, account="l:ann@example.com", network=2) for n in range(2)))
        wrong(book, pump, *(attempt(n, network=3) for n in range(2)))
        wrong(book, pump, attempt(2, network=4), attempt(3, network=5))
    pump.result(book.count_active())
    sample = metrics.registry.get_sample_value
    found = {scope: sample("smtp_gateway_lockouts_total", {"scope": scope}) for scope in Scope}
    # the account's sheet has passwords 0 to 3
    assert {scope: count for scope, count in found.items() if count} == {Scope.ACCOUNT_NETWORK: 3.0, Scope.ACCOUNT: 1.0}
    assert [sample("smtp_gateway_lockouts_active", {"scope": scope}) for scope in Scope] == [3.0, 1.0, 0.0, 0.0, 0.0]
    assert [(line["scope"], line["account"], line["network"], line["seconds"]) for line in logs] == [
        ("account_network", "7", "192.0.2.1/32", 300),
        ("account_network", "", "192.0.2.2/32", 300),
        ("account_network", "7", "192.0.2.3/32", 300),
        ("account", "7", "", 300),
    ]
    assert "ann@" not in str(logs)


def test_a_lock_of_a_credential_is_logged_with_its_number(database: Database, pump: Pump) -> None:
    with structlog.testing.capture_logs() as logs:
        wrong(book_of(database), pump, *(attempt(n, account="c:12") for n in range(2)))
        wrong(book_of(database), pump, *(attempt(n, network=2) for n in range(2)))
    assert [(line["account"], line.get("credential")) for line in logs] == [("", 12), ("7", None)]


def count(database: Database, pump: Pump, table: Any) -> int:
    return pump.result(database.read(lambda c: int(c.execute(select(func.count()).select_from(table)).scalar_one())))


@pytest.fixture
def old_rows(database: Database, pump: Pump) -> Callable[[int], None]:
    """Puts failures, locks and networks of one age in days into the store, three of each."""

    def put(days: int) -> None:
        def insert_all(connection: Connection) -> None:
            at = now() - days * DAY
            for n in range(3):
                named = {"subject": f"a:{days}-{n}", "stored_tag": "", "network": "192.0.2.1/32"}
                values = {**named, "fingerprint": n, "known": False, "confirmed": True}
                connection.execute(insert(failure).values(at=at), values)
                connection.execute(insert(lockout).values(at=at, until=at), {**named, "scope": "account"})
                known = {"subject": named["subject"], "network": named["network"]}
                connection.execute(insert(known_network).values(seen=at), known)

        pump.result(database.write(insert_all))

    return put


def test_sweeping_takes_old_rows_in_steps(database: Database, pump: Pump, old_rows: Callable[[int], None]) -> None:
    old_rows(29)
    old_rows(31)
    book = book_of(database)
    assert [pump.result(book.sweep(2)) for _ in range(3)] == [6, 3, 0]
    assert [count(database, pump, table) for table in (failure, lockout, known_network)] == [3, 3, 3]


def test_networks_that_are_trusted_for_longer_stay(database: Database, pump: Pump, old_rows: Callable[[int], None]) -> None:
    old_rows(31)
    assert pump.result(book_of(database, rules=Lockout(trust_for=2 * KEEP)).sweep(10)) == 6
    assert count(database, pump, known_network) == 3


def test_clearing_takes_locks_that_are_over_too(database: Database, pump: Pump, old_rows: Callable[[int], None]) -> None:
    """They would make the next one longer."""
    old_rows(0)
    cleared = pump.result(database.write(lambda connection: lockout_listing.clear_subjects(connection, {"a:0-0"})))
    assert (cleared.locks, cleared.failures) == (0, 1)
    assert count(database, pump, lockout) == 2


def everything(database: Database, pump: Pump) -> None:
    """Each statement of the sheets and of the history at least once."""
    book = book_of(database)
    wrong(book, pump, *(attempt(n, account=f"a:{n}") for n in range(3)))  # locks the network
    wrong(book, pump, *(attempt(n, network=n + 2) for n in range(4)))  # locks the account
    pump.result(book.refund(pump.result(book.charge(attempt(1, account="a:8", network=9)))))
    pump.result(book.succeed(attempt(account="a:9"), None))
    pump.result(book.succeed(attempt(account="a:9"), None))
    pump.result(book.count_active())
    pump.result(book.sweep(10))
    history = SqlSignInHistory(database, lambda: 1e9)
    history.note("a:7", "192.0.2.1/32", "PLAIN", "ok")
    pump.result(history.flush())
    pump.result(database.read(lambda connection: recent(connection, "a:7", 10)))
    pump.result(history.sweep(10))
    pump.result(database.write(lambda connection: lockout_listing.clear_subjects(connection, {"a:7", "a:8"})))
    pump.result(database.write(lambda connection: lockout_listing.clear_networks(connection, ["192.0.2.1/32"])))
    pump.result(database.read(lockout_listing.active))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_statement_reads_a_whole_table(database: Database, pump: Pump) -> None:
    with statements() as seen:
        everything(database, pump)
    tables = ("failure", "lockout", "known_network", "sign_in")
    wanted = {statement: values for statement, values in seen if statement.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(wanted) > 20

    def plans(connection: Connection) -> list[tuple[str, str]]:
        return [
            (row[-1], statement)
            for statement, values in wanted.items()
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    found = pump.result(database.read(plans))
    assert any("SEARCH failure" in step for step, _ in found)
    assert [each for each in found if any(each[0].startswith(f"SCAN {table}") for table in tables)] == []
