"""What is SqlOutbox's own: leases of earlier lives, what stays of a finished message, sweeping. The rest: tests/contract."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update

from gateway.queue.model import (
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    Recipient,
    Record,
    Result,
    Spooled,
    State,
)
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import attempt, message, recipient
from tests.pump import Pump, deferred
from tests.queued import queued
from tests.servers.databases import Postgresql
from tests.stores import KINDS, latin1_url, running, url_of


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


@pytest.fixture
def outbox(database: Database, pump: Pump) -> SqlOutbox:
    return registered(database, pump)


def registered(database: Database, pump: Pump) -> SqlOutbox:
    outbox = SqlOutbox(database, "host:1")
    pump.result(outbox.register())
    return outbox


def new(id_: str = "0000000000000001", *, spooled: bool = False, to: str = "you@Example.NET") -> NewMessage:
    body = Spooled(id_, 70_000) if spooled else Inline(b"Hello\r\n")
    return NewMessage(id_, "7", Envelope("me@example.com"), b"A: b\r\n\r\n", body, (NewRecipient(to, Field.TO),))


def done(one: Recipient, *, burns: bool = True) -> Record:
    return Record(Outcome(one, Result.DELIVERED, 250, "2.0.0", "ok", "hop:25", "mx", burns_attempt=burns), State.DELIVERED)


def rows(database: Database, pump: Pump, query: Any) -> list[dict[str, Any]]:
    return pump.result(database.read(lambda connection: [dict(row._mapping) for row in connection.execute(query)]))


def change(database: Database, pump: Pump, sql: str) -> None:
    pump.result(database.write(lambda connection: connection.execute(text(sql)) and None))


def test_a_new_life_frees_the_leases_of_the_one_before(url: str, database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    before = queued(pump.result(outbox.add(new(), lease=True)))
    later = registered(database, pump)
    [taken] = pump.result(later.take(10))
    assert taken.recipients == before.recipients
    assert pump.result(outbox.still_ours(before.recipients)) == []
    assert pump.result(outbox.record([done(before.recipients[0])], [])).bodies == []
    assert pump.result(later.still_ours(taken.recipients)) == list(taken.recipients)
    pump.result(outbox.release(before.recipients))
    assert pump.result(later.still_ours(taken.recipients)) == list(taken.recipients)


def test_the_leases_of_another_gateway_that_lives_are_left_alone(database: Database, pump: Pump) -> None:
    living = {"/one"}
    one = SqlOutbox(database, "/one", living.__contains__)
    two = SqlOutbox(database, "/two", living.__contains__)
    pump.result(one.register())
    theirs = queued(pump.result(one.add(new(), lease=True))).recipients
    pump.result(two.register())
    assert pump.result(two.take(10)) == []
    assert pump.result(one.still_ours(theirs)) == list(theirs)
    living.clear()
    pump.result(SqlOutbox(database, "/three", living.__contains__).register())
    assert [m.recipients for m in pump.result(SqlOutbox(database, "/four").take(10))] == [theirs]


def test_what_a_finished_message_leaves(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    added = queued(pump.result(outbox.add(new(), lease=True)))
    pump.result(outbox.record([done(added.recipients[0])], []))
    [row] = rows(database, pump, select(message))
    assert (row["sender"], row["header"], row["body"], row["body_size"]) == ("me@example.com", b"A: b\r\n\r\n", None, 7)
    assert row["finished"] >= row["accepted"] > 1.7e9
    [row] = rows(database, pump, select(recipient))
    assert (row["state"], row["attempts"], row["code"], row["text"], row["domain"]) == (
        "delivered",
        1,
        250,
        "ok",
        "example.net",
    )
    [row] = rows(database, pump, select(attempt))
    assert (row["result"], row["code"], row["enhanced"], row["hop"], row["remote"]) == (
        "delivered",
        250,
        "2.0.0",
        "hop:25",
        "mx",
    )


@pytest.mark.parametrize("words", ["angenommen \u2713", "\ufffd", "nul \0"], ids=ascii)
def test_a_reply_that_the_store_cannot_hold_is_written_in_ascii(postgresql: Postgresql, pump: Pump, words: str) -> None:
    """Or its recipient would be delivered to again after each restart, and nothing else would go out meanwhile."""
    with running(latin1_url(postgresql), pump) as database:
        outbox = registered(database, pump)
        ones = [queued(pump.result(outbox.add(new(f"000000000000000{n}"), lease=True))).recipients[0] for n in range(3)]
        records = [done(one) for one in ones]
        records[1] = replace(records[1], outcome=replace(records[1].outcome, text=words))
        waiting = [deferred(outbox.record([record], [])) for record in records]
        assert [pump.result(each).late for each in waiting] == [frozenset()] * 3
        found = rows(database, pump, select(recipient).order_by(recipient.c.id))
        assert [row["state"] for row in found] == ["delivered"] * 3
        assert [row["text"] for row in found] == ["ok", words.encode("unicode_escape").decode(), "ok"]


def test_an_attempt_that_burned_nothing_leaves_its_words_only(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    [one] = queued(pump.result(outbox.add(new(), lease=True))).recipients
    outcome = Outcome(one, Result.RETRY, 0, "", "no hop answers", "hop:25", burns_attempt=False)
    pump.result(outbox.record([Record(outcome, State.QUEUED, 60.0)], []))
    assert rows(database, pump, select(attempt)) == []
    [row] = rows(database, pump, select(recipient))
    assert (row["text"], row["attempts"], row["process"]) == ("no hop answers", 0, None)


def test_an_idn_domain_is_kept_in_its_ascii_form(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    pump.result(outbox.add(new(to="a@Bücher.example"), lease=False))
    [row] = rows(database, pump, select(recipient))
    assert (row["address"], row["domain"]) == ("a@Bücher.example", "xn--bcher-kva.example")


def test_sweeping_takes_old_finished_ones_in_steps(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    for n in range(5):
        added = queued(pump.result(outbox.add(new(f"000000000000000{n}"), lease=True)))
        if n < 4:
            pump.result(outbox.record([done(added.recipients[0])], []))
    change(database, pump, "UPDATE message SET finished = finished - 1000 WHERE id <= '0000000000000002'")
    assert pump.result(outbox.sweep(900.0, 2)) == 2
    assert pump.result(outbox.sweep(900.0, 2)) == 1
    assert pump.result(outbox.sweep(900.0, 2)) == 0
    left = {"0000000000000003", "0000000000000004"}
    assert {row["id"] for row in rows(database, pump, select(message.c.id))} == left
    assert {row["message_id"] for row in rows(database, pump, select(recipient.c.message_id))} == left
    assert len(rows(database, pump, select(attempt))) == 1


def test_live_bodies_are_those_that_somebody_waits_for(outbox: SqlOutbox, pump: Pump) -> None:
    pump.result(outbox.add(new("0000000000000001", spooled=True), lease=True))
    finished = queued(pump.result(outbox.add(new("0000000000000002", spooled=True), lease=True)))
    pump.result(outbox.record([done(finished.recipients[0])], []))
    names = [f"000000000000000{n}" for n in range(4)]
    assert pump.result(outbox.live_bodies(names)) == {"0000000000000001"}
    assert pump.result(outbox.live_bodies([])) == set()


def test_due_times_beyond_the_longest_pause_are_pulled_in(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    """The clock was hours ahead when they were written, and has been put right since."""
    taken = [pump.result(outbox.add(new(f"000000000000000{n}"), lease=False)) for n in range(3)]
    assert len(taken) == 3

    def move(connection: Connection) -> None:
        ids = list(connection.execute(select(recipient.c.id).order_by(recipient.c.id)).scalars())
        for number, far in zip(ids, (3400.0, 3700.0, 90_000.0), strict=False):
            row = update(recipient).where(recipient.c.id == number)
            connection.execute(row.values(next_attempt=now() + far))

    pump.result(database.write(move))
    assert pump.result(outbox.pull_in(3600.0, 100)) == 2
    assert pump.result(outbox.pull_in(3600.0, 100)) == 0
    left = pump.result(
        database.read(lambda connection: list(connection.execute(select(recipient.c.next_attempt - now())).scalars()))
    )
    assert sorted(round(seconds / 1000) for seconds in left) == [0, 0, 3]
