"""What is the store's own of usage and suspensions: shared reads, refusals, listings, sweeping. The rest: tests/contract."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, select

from gateway.errors import NotFound, Unavailable
from gateway.queue.allowance import DAY, Denied, OnLimit, Terms
from gateway.queue.model import Envelope, Field, Inline, NewMessage, NewRecipient, Queued
from gateway.store import suspensions
from gateway.store.clock import now, today
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import resend, suspension, usage_day
from gateway.store.usage import KEEP_DAYS, MAX_WAITING, SqlLedger, UsageDay, standing_now, usage_of, usage_of_month
from tests.pump import Pump
from tests.statements import statements
from tests.stores import KINDS, running, store_url, url_of

TWO = Terms(2, OnLimit.SUSPEND)


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, pump: Pump) -> Iterator[Database]:
    with running(url_of(request.param, tmp_path, request), pump) as database:
        yield database


@pytest.fixture
def outbox(database: Database, pump: Pump) -> SqlOutbox:
    outbox = SqlOutbox(database, "host:1")
    pump.result(outbox.register())
    return outbox


@pytest.fixture
def day(database: Database, pump: Pump) -> int:
    """Today."""
    return pump.result(database.read(lambda connection: int(connection.execute(select(today())).scalar_one())))


@pytest.fixture
def ledger(database: Database, day: int) -> SqlLedger:
    return SqlLedger(database, lambda: (day + 0.5) * DAY)


def new(id_: int, account: str = "7", recipients: int = 1, terms: Terms = TWO, key: str = "") -> NewMessage:
    to = tuple(NewRecipient(f"r{n}@example.net", Field.CC) for n in range(recipients))
    return NewMessage(f"{id_:016}", account, Envelope("me@x.example"), b"A: b\r\n\r\n", Inline(b"hello"), to, terms, key)


def write(database: Database, pump: Pump, table: Any, *rows: dict[str, Any]) -> None:
    pump.result(database.write(lambda connection: connection.execute(insert(table), list(rows)) and None))


def used(account: str, day: int, n: int = 1) -> dict[str, Any]:
    row: dict[str, Any] = {"account_id": account, "day": day, "messages": n, "to_recipients": n, "cc_recipients": 0}
    return {**row, "bcc_recipients": 2 * n, "bytes": 5_000_000_000 * n, "refusals": 0}


def usage(database: Database, pump: Pump, account: str = "7", days: int = 1) -> list[UsageDay]:
    return pump.result(database.read(lambda connection: usage_of(connection, account, days)))


def count(database: Database, pump: Pump, table: Any) -> int:
    query = select(func.count()).select_from(table)
    return pump.result(database.read(lambda connection: int(connection.execute(query).scalar_one())))


class TestStanding:
    def test_many_are_read_together_and_each_gets_its_own(
        self, database: Database, ledger: SqlLedger, outbox: SqlOutbox, pump: Pump
    ) -> None:
        pump.result(outbox.add(new(1, "a", 2), lease=False))
        pump.result(outbox.add(new(2, "b", 3), lease=False))
        waiting = {account: [ledger.standing(account) for _ in range(20)] for account in "abc"}
        told = {account: {pump.result(each) for each in all_} for account, all_ in waiting.items()}
        assert {(a, s.used, s.suspended) for a, all_ in told.items() for s in all_} == {
            ("a", 2, False),
            ("b", 0, True),
            ("c", 0, False),
        }

    def test_it_sees_what_was_charged_before_it_was_asked(self, ledger: SqlLedger, outbox: SqlOutbox, pump: Pump) -> None:
        early = [ledger.standing("7") for _ in range(5)]
        pump.result(outbox.add(new(1), lease=False))
        assert pump.result(ledger.standing("7")).used == 1
        for each in early:
            pump.result(each)

    def test_a_command_sees_the_same(self, database: Database, outbox: SqlOutbox, pump: Pump, day: int) -> None:
        pump.result(outbox.add(new(1, recipients=2), lease=False))
        standing = pump.result(database.read(lambda connection: standing_now(connection, "7")))
        assert (standing.day, standing.used, standing.suspended) == (day, 2, False)

    def test_a_store_that_is_away(self, tmp_path: Path, pump: Pump) -> None:
        with running(f"sqlite:///{tmp_path}/none.db", pump) as database:
            ledger = SqlLedger(database, lambda: 0.0)
            assert isinstance(pump.failure(ledger.standing("7")), Unavailable)
            assert isinstance(pump.failure(ledger.overstep("7", TWO, 1)), Unavailable)


class TestDenied:
    def test_nothing_of_it_is_left(self, database: Database, outbox: SqlOutbox, pump: Pump) -> None:
        terms = Terms(2, OnLimit.REJECT)
        assert isinstance(pump.result(outbox.add(new(1, recipients=3, terms=terms, key="k"), lease=True)), Denied)
        assert (count(database, pump, resend), count(database, pump, usage_day), count(database, pump, suspension)) == (0, 0, 0)
        assert pump.result(outbox.take(10)) == []

    def test_nor_of_a_key_that_it_took_over(self, database: Database, outbox: SqlOutbox, pump: Pump) -> None:
        write(database, pump, resend, {"key": "k", "account_id": "7", "message_id": "gone", "at": 1.0})
        assert isinstance(pump.result(outbox.add(new(1, recipients=3, key="k"), lease=True)), Denied)
        assert count(database, pump, resend) == 0

    def test_unless_it_fits_by_the_time_that_its_denial_is_looked_at(
        self, database: Database, outbox: SqlOutbox, pump: Pump
    ) -> None:
        """As another connection may lift a suspension between two statements, or midnight come."""
        assert isinstance(pump.result(outbox.add(new(1, recipients=3), lease=False)), Denied)
        lifted: list[str] = []

        def lift(_c: object, cursor: Any, statement: str, *_: object) -> None:
            if not lifted and statement.startswith("SELECT") and "usage_day" in statement:
                lifted.append(statement)
                cursor.execute("UPDATE suspension SET lifted = 1.0")

        event.listen(Engine, "before_cursor_execute", lift)
        try:
            answer = pump.result(outbox.add(new(2, recipients=2), lease=False))
        finally:
            event.remove(Engine, "before_cursor_execute", lift)
        assert isinstance(answer, Queued)
        assert answer.standing is not None
        assert (answer.standing.used, usage(database, pump)[0].recipients) == (2, 2)


class TestRefusals:
    def test_they_are_counted_by_account_and_day_beside_what_was_sent(
        self, database: Database, ledger: SqlLedger, outbox: SqlOutbox, pump: Pump
    ) -> None:
        pump.result(outbox.add(new(1, recipients=2), lease=False))
        for account in ("7", "7", "8"):
            ledger.refused(account)
        pump.result(ledger.flush())
        ledger.refused("7")
        pump.result(ledger.flush())
        pump.result(ledger.flush())  # nothing twice
        [ann], [bob] = usage(database, pump, "7"), usage(database, pump, "8")
        assert (ann.messages, ann.recipients, ann.refusals) == (1, 2, 3)
        assert (bob.messages, bob.recipients, bob.bytes, bob.refusals) == (0, 0, 0, 1)

    def test_a_row_of_refusals_alone_is_charged_like_any_other(
        self, database: Database, ledger: SqlLedger, outbox: SqlOutbox, pump: Pump
    ) -> None:
        ledger.refused("7")
        pump.result(ledger.flush())
        pump.result(outbox.add(new(1, recipients=2), lease=False))
        assert isinstance(pump.result(outbox.add(new(2), lease=False)), Denied)
        [row] = usage(database, pump)
        assert (row.messages, row.cc_recipients, row.refusals) == (1, 2, 1)

    def test_they_are_kept_while_the_store_is_away(self, tmp_path: Path, pump: Pump, day: int) -> None:
        url = f"sqlite:///{tmp_path}/late/gateway.db"
        with running(url, pump) as database:
            ledger = SqlLedger(database, lambda: day * DAY)
            for n in range(700):  # more than one step
                ledger.refused(str(n))
            for _ in range(2):
                assert isinstance(pump.failure(ledger.flush()), Unavailable)
            ledger.refused("0")
            (tmp_path / "late").mkdir()
            store_url(tmp_path / "late")
            pump.result(ledger.flush())
            assert [usage(database, pump, account)[0].refusals for account in ("0", "1", "699")] == [2, 1, 1]
            assert count(database, pump, usage_day) == 700

    def test_they_are_bounded(self, database: Database, ledger: SqlLedger, pump: Pump) -> None:
        for n in range(MAX_WAITING + 5):
            ledger.refused(str(n))
        ledger.refused("0")
        pump.result(ledger.flush())
        assert count(database, pump, usage_day) == MAX_WAITING
        assert usage(database, pump, "0")[0].refusals == 2


class TestListings:
    def test_the_last_days_of_an_account(self, database: Database, pump: Pump, day: int) -> None:
        write(database, pump, usage_day, *(used("7", day - back, back + 1) for back in (40, 3, 2, 0)), used("8", day))
        assert [each.day for each in usage(database, pump, days=3)] == [day, day - 2]
        assert [each.day for each in usage(database, pump, days=4)] == [day, day - 2, day - 3]
        [latest] = usage(database, pump)
        assert latest == UsageDay("7", day, 1, 1, 0, 2, 5_000_000_000, 0)
        assert latest.recipients == 3

    @pytest.mark.parametrize(("day", "date"), [(0, "1970-01-01"), (20_758, "2026-11-01"), (11_016, "2000-02-29")])
    def test_a_day_is_a_date(self, day: int, date: str) -> None:
        assert UsageDay("7", day, 0, 0, 0, 0, 0, 0).date == datetime.date.fromisoformat(date)

    def test_a_month_of_all_accounts_is_in_order(self, database: Database, pump: Pump) -> None:
        write(database, pump, usage_day, *(used(str(n), day) for n in range(30) for day in (99, 100, 115, 129, 130)))

        def read(connection: Connection) -> list[tuple[int, str]]:
            return [(each.day, each.account_id) for each in usage_of_month(connection, 100, 129)]

        found = pump.result(database.read(read))
        assert found == sorted((day, str(n)) for n in range(30) for day in (100, 115, 129))

    def test_suspensions_are_listed_and_lifted(self, database: Database, outbox: SqlOutbox, pump: Pump, day: int) -> None:
        def active() -> list[tuple[str, int, int, int]]:
            found = pump.result(database.read(suspensions.active))
            assert all(0 <= each.age < 60 for each in found)
            return [(each.account_id, each.daily_limit, each.used, each.day) for each in found]

        pump.result(outbox.add(new(1, "a", 2), lease=False))
        pump.result(outbox.add(new(2, "a"), lease=False))
        pump.result(outbox.add(new(3, "b", 3), lease=False))
        assert active() == [("b", 2, 0, day), ("a", 2, 2, day)]
        lifted = pump.result(database.write(lambda connection: suspensions.lift(connection, "a")))
        assert (lifted.account_id, lifted.daily_limit, lifted.used, lifted.day) == ("a", 2, 2, day)
        assert active() == [("b", 2, 0, day)]
        with pytest.raises(NotFound, match="account a is not suspended"):
            pump.result(database.write(lambda connection: suspensions.lift(connection, "a")))


class TestSweeping:
    def test_old_usage(self, database: Database, ledger: SqlLedger, pump: Pump, day: int) -> None:
        write(database, pump, usage_day, *(used("7", day - KEEP_DAYS - n) for n in (3, 2, 1, 0, -1)))
        assert [pump.result(ledger.sweep(2)) for _ in range(3)] == [2, 1, 0]
        assert [each.day for each in usage(database, pump, days=10_000)] == [day - KEEP_DAYS + 1, day - KEEP_DAYS]

    def test_old_resends(self, database: Database, ledger: SqlLedger, pump: Pump) -> None:
        at = pump.result(database.read(lambda connection: float(connection.execute(select(now())).scalar_one())))
        ages = {"old": 700.0, "older": 800.0, "fresh": 500.0}
        rows = [{"key": key, "account_id": "7", "message_id": key, "at": at - age} for key, age in ages.items()]
        write(database, pump, resend, *rows)
        assert [pump.result(ledger.sweep(1)) for _ in range(3)] == [1, 1, 0]
        assert count(database, pump, resend) == 1

    def test_suspensions_lifted_long_ago(self, database: Database, ledger: SqlLedger, pump: Pump) -> None:
        at = pump.result(database.read(lambda connection: float(connection.execute(select(now())).scalar_one())))
        long_ago = at - (KEEP_DAYS + 1) * DAY
        row = {"account_id": "7", "day": 1, "at": long_ago, "daily_limit": 2, "used": 2}
        lifted = [{**row, "account_id": account, "lifted": when} for account, when in (("a", long_ago), ("b", at), ("c", None))]
        write(database, pump, suspension, *lifted)
        assert [pump.result(ledger.sweep(10)) for _ in range(2)] == [1, 0]
        assert [each.account_id for each in pump.result(database.read(suspensions.active))] == ["c"]
        assert count(database, pump, suspension) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_statement_reads_a_whole_table(database: Database, ledger: SqlLedger, outbox: SqlOutbox, pump: Pump) -> None:
    with statements() as seen:
        for id_, recipients, key in ((1, 2, "k"), (2, 2, "k"), (3, 1, "l")):  # queued, a duplicate, denied
            pump.result(outbox.add(new(id_, recipients=recipients, key=key), lease=True))
        pump.result(outbox.disown("1"))
        pump.result(ledger.standing("7"))
        pump.result(database.write(lambda connection: suspensions.lift(connection, "7")))
        pump.result(outbox.add(new(4), lease=False))
        usage(database, pump)
    wanted = {statement: values for statement, values in seen if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))}

    def plans(connection: Connection) -> list[tuple[str, str]]:
        return [
            (row[-1], statement)
            for statement, values in wanted.items()
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    found = pump.result(database.read(plans))
    tables = ("usage_day", "suspension", "resend", "recipient", "message")
    assert [each for each in found if each[0].startswith(tuple(f"SCAN {table}" for table in tables))] == []
    used_indexes = {word for step, _ in found for word in step.split() if word.startswith(("suspension_", "recipient_"))}
    assert used_indexes >= {"suspension_active", "suspension_day", "recipient_message"}
