"""A queue of a million: nothing that is done to it all the time reads a table from end to end.

Looked up in the database's own plans, for the statements as they are really sent; so it does not depend on time or on size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from gateway.queue.allowance import OnLimit, Terms
from gateway.queue.model import (
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    QueuedMessage,
    Record,
    Result,
    State,
)
from gateway.store import operator
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from tests.pump import Pump
from tests.queued import queued
from tests.statements import statements
from tests.stores import KINDS, running, url_of

LARGE = ("message", "recipient", "attempt", "resend", "usage_day")
# Partial indexes of few rows, or read whole in their own order up to a LIMIT
SHORT = ("recipient_due", "recipient_lease", "recipient_held_account", "recipient_waiting", "message_finished")


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, pump: Pump) -> Iterator[Database]:
    with running(url_of(request.param, tmp_path, request), pump) as database:
        yield database


def new(number: int) -> NewMessage:
    to = (NewRecipient("you@example.net", Field.TO), NewRecipient("blind@example.org", Field.BCC))
    terms = Terms(1000, OnLimit.DEFER)
    return NewMessage(
        f"{number:016}", "7", Envelope("me@example.com"), b"A: b\r\n\r\n", Inline(b"x"), to, terms, f"key {number}"
    )


def work(database: Database, pump: Pump) -> None:
    """Everything that is done to the queue while it runs, once or more."""
    outbox = SqlOutbox(database, "/here")
    pump.result(outbox.register())

    def leased(number: int) -> QueuedMessage:
        return queued(pump.result(outbox.add(new(number), lease=True)))

    def outcomes(message: QueuedMessage, state: State, result: Result, delay: float = 0.0) -> list[Record]:
        return [Record(Outcome(one, result, 0, "", "", "hop"), state, delay) for one in message.recipients]

    done, again, freed, held, lost = map(leased, range(1, 6))
    pump.result(outbox.record(outcomes(done, State.DELIVERED, Result.DELIVERED), []))
    pump.result(outbox.record(outcomes(again, State.QUEUED, Result.RETRY), [new(6)]))
    pump.result(outbox.still_ours(freed.recipients))
    pump.result(outbox.release(freed.recipients))
    pump.result(outbox.disown(lost.id))
    pump.result(outbox.hold_back(held.recipients))
    assert pump.result(outbox.held_accounts()) == {"7"}
    assert pump.result(outbox.let_go("7", 10)) == 2
    pump.result(outbox.next_due())
    pump.result(outbox.counts())
    assert pump.result(outbox.overdue(1, warn_after=0.0, give_up=0.0))
    assert pump.result(outbox.take(1))
    pump.result(outbox.live_bodies(["0000000000000001"]))
    assert pump.result(outbox.sweep(-1.0, 10)) == 1


def operate(connection: Connection) -> None:
    """What operators ask for one message."""
    operator.show(connection, "0000000000000002")
    operator.show(connection, "3")
    operator.retry(connection, "0000000000000003")
    operator.hold(connection, "0000000000000003")
    operator.release(connection, "0000000000000003")
    operator.delete(connection, "0000000000000003")


def large_scans(connection: Connection, statement: str, values: Any) -> list[str]:
    """The lines of the plan that read a large table, or an index of all of it, from end to end.

    PostgreSQL does so when a row is compared with a function that may change from one row to the next.
    """
    if connection.dialect.name == "sqlite":
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
        found = [line for line in plan if any(line.split()[:2] == ["SCAN", table] for table in LARGE)]
    else:
        # In a table this small it would rather read everything: what it does when that is dear is the answer
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values)]
        found = [line for line in plan if any(f"Seq Scan on {table}" in line for table in LARGE) or "clock_timestamp" in line]
    return [f"{statement}\n    {line}" for line in found if not any(index in line for index in SHORT)]


def test_nothing_reads_the_queue_from_end_to_end(database: Database, pump: Pump) -> None:
    with statements() as sent:
        work(database, pump)
        pump.result(database.write(operate))
    queries = {statement: values for statement, values in sent if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH"))}
    assert len(queries) > 25

    def look(connection: Connection) -> list[str]:
        return [line for statement, values in queries.items() for line in large_scans(connection, statement, values)]

    assert pump.result(database.read(look)) == []


def test_a_statement_without_an_index_would_be_seen(database: Database, pump: Pump) -> None:
    statement = "SELECT id FROM recipient WHERE address = 'x'"
    assert pump.result(database.read(lambda connection: large_scans(connection, statement, ())))
