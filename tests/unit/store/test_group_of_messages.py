"""A group of messages is written by as many statements as one message, and each of them as if it had come alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from twisted.internet.defer import Deferred

from gateway.queue.allowance import Denied, OnLimit, Terms
from gateway.queue.model import (
    Duplicate,
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    Queued,
    QueuedMessage,
    Recipient,
    Record,
    Recorded,
    Result,
    Spooled,
    State,
)
from gateway.store.database import Database
from gateway.store.failures import Unfit
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import attempt, message, recipient
from gateway.store.usage import usage_of
from tests.pump import Pump, deferred
from tests.queued import queued
from tests.statements import statements
from tests.stores import KINDS, running, url_of

T = TypeVar("T")
MANY = 20
PLENTY = Terms(1000, OnLimit.DEFER)


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


def new(
    number: int,
    *,
    account: str = "7",
    terms: Terms | None = PLENTY,
    key: str | None = None,
    to: Sequence[str] = ("you@example.net",),
    spooled: bool = False,
) -> NewMessage:
    id_ = f"{number:016}"
    body = Spooled(id_, 70_000 + number) if spooled else Inline(bytes([number, 0, 255]) * (number + 1))
    header = b"N: %d\r\n\r\n" % number
    recipients = tuple(NewRecipient(one, Field.TO) for one in to)
    return NewMessage(
        id_, account, Envelope("me@example.com"), header, body, recipients, terms, f"k{number}" if key is None else key
    )


def done(*recipients: Recipient) -> list[Record]:
    return [
        Record(Outcome(one, Result.DELIVERED, 250, "2.0.0", f"ok {one.id}", "hop", "mx"), State.DELIVERED) for one in recipients
    ]


def at_once(outbox: SqlOutbox, pump: Pump, *messages: NewMessage) -> list[Any]:
    """What each comes to, an exception included, all being of one turn of the reactor."""
    waiting = [deferred(outbox.add(one, lease=True)) for one in messages]
    for each in waiting:
        each.addErrback(lambda failure: failure.value)
    return [pump.result(each) for each in waiting]


def read(database: Database, pump: Pump, query: Any) -> list[tuple[Any, ...]]:
    return pump.result(database.read(lambda connection: [tuple(row) for row in connection.execute(query)]))


def used(database: Database, pump: Pump, account: str = "7") -> tuple[int, int, int]:
    [day] = pump.result(database.read(lambda connection: usage_of(connection, account, 2)))
    return day.messages, day.recipients, day.bytes


def test_many_cost_no_more_statements_than_one(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    def accounts_at_once(first: int, count: int) -> list[QueuedMessage]:
        return [queued(each) for each in at_once(outbox, pump, *(new(first + n, account=str(n % 7)) for n in range(count)))]

    with statements() as sent:
        [lone] = accounts_at_once(0, 1)
        pump.result(outbox.record(done(*lone.recipients), []))
        of_one = len(sent)
    with statements() as sent:
        many = accounts_at_once(1, MANY)
        waiting = [outbox.record(done(*each.recipients), []) for each in many]
        assert [pump.result(each) for each in waiting] == [Recorded([])] * MANY
        assert len(sent) <= of_one
    assert of_one <= 10, "BEGIN twice, and four each to accept and to record; PostgreSQL locks the messages, too"


@pytest.mark.parametrize(("octets", "recipients"), [(1, 1), (30, 4), (1 << 20, 1000)])
def test_each_keeps_its_own(
    database: Database, outbox: SqlOutbox, pump: Pump, octets: int, recipients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In one statement: one message, some, or all
    monkeypatch.setattr("gateway.store.admission.OCTETS_AT_ONCE", octets)
    monkeypatch.setattr("gateway.store.given.ROWS_AT_ONCE", recipients)
    messages = [new(n, account=str(n % 3), to=[f"{n}-{i}@example.net" for i in range(n)]) for n in range(1, 6)]
    messages.append(new(6, spooled=True))
    came_to = [queued(each) for each in at_once(outbox, pump, *messages)]
    assert [each.id for each in came_to] == [each.id for each in messages]
    stored = {
        row[0]: row[1:]
        for row in read(database, pump, select(message.c.id, message.c.header, message.c.body, message.c.body_file))
    }
    for one, queued_ in zip(messages, came_to, strict=True):
        body = one.body.data if isinstance(one.body, Inline) else None
        assert stored[one.id] == (one.header, body, None if body is not None else one.id)
        assert [r.address for r in queued_.recipients] == [r.address for r in one.recipients]
        of_it = select(recipient.c.id, recipient.c.address).where(recipient.c.message_id == one.id)
        assert sorted(read(database, pump, of_it)) == sorted((r.id, r.address) for r in queued_.recipients)
    waiting = [outbox.record(done(*each.recipients), []) for each in came_to]
    assert [pump.result(each).bodies for each in waiting] == [[]] * 5 + [[messages[-1].body]]
    texts = [(f"ok {id_}",) for id_ in sorted(r.id for each in came_to for r in each.recipients)]
    assert read(database, pump, select(recipient.c.text).order_by(recipient.c.id)) == texts
    assert read(database, pump, select(attempt.c.text).order_by(attempt.c.recipient_id)) == texts


def test_a_charge_that_does_not_fit_together_is_made_one_by_one(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    terms = Terms(4, OnLimit.DEFER)
    sizes = (1, 2, 3, 1)
    came_to = at_once(outbox, pump, *(new(n, terms=terms, to=["a@b.example"] * size) for n, size in enumerate(sizes)))
    assert [type(each) for each in came_to] == [Queued, Queued, Denied, Queued]
    assert [each.standing.used for each in came_to] == [1, 3, 3, 4]
    assert used(database, pump)[:2] == (3, 4)
    assert isinstance(at_once(outbox, pump, new(9, terms=PLENTY, key="k2"))[0], Queued)  # the denied one's key is free


def test_the_standing_of_each_is_after_its_own_charge(outbox: SqlOutbox, pump: Pump) -> None:
    came_to = at_once(outbox, pump, *(new(n, to=["a@b.example"] * (n + 1)) for n in range(3)))
    assert [each.standing.used for each in came_to] == [1, 3, 6]


def test_of_two_limits_of_one_account_each_message_meets_its_own(outbox: SqlOutbox, pump: Pump) -> None:
    came_to = at_once(
        outbox, pump, new(1, terms=Terms(1, OnLimit.DEFER)), new(2, terms=PLENTY), new(3, terms=Terms(1, OnLimit.DEFER))
    )
    assert [type(each) for each in came_to] == [Queued, Queued, Denied]


def test_one_that_comes_again_with_its_first_is_its_duplicate(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    came_to = at_once(outbox, pump, new(1, key="k"), new(2), new(3, key="k"), new(4, key="k"))
    assert [type(each) for each in came_to] == [Queued, Queued, Duplicate, Duplicate]
    assert {each.first for each in came_to[2:]} == {f"{1:016}"}
    assert used(database, pump)[:2] == (2, 2)


def test_one_that_cannot_be_written_leaves_nothing_and_the_others_stay(
    database: Database, outbox: SqlOutbox, pump: Pump
) -> None:
    came_to = at_once(outbox, pump, new(1), new(2, to=["\ud800@example.net"]), new(3))
    assert [type(each) for each in came_to] == [Queued, Unfit, Queued]
    assert sorted(read(database, pump, select(message.c.id))) == [(f"{1:016}",), (f"{3:016}",)]
    assert used(database, pump) == (2, 2, new(1).size + new(3).size)


def test_outcomes_of_a_group_each_go_to_their_own(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    first, second = map(queued, at_once(outbox, pump, new(1, to=["a@b.example", "c@b.example"]), new(2, spooled=True)))
    late = Record(done(first.recipients[0])[0].outcome, State.FAILED)
    again = Record(Outcome(first.recipients[1], Result.RETRY, 451, "4.0.0", "later", "hop", "mx"), State.QUEUED, 60.0)
    waiting: list[Deferred[Recorded]] = [
        outbox.record(done(first.recipients[0]), []),
        outbox.record([again], []),
        outbox.record(done(*second.recipients), []),
        outbox.record([late], [new(8, terms=None, key="")]),  # a second outcome of one recipient: too late, and so its report
    ]
    told = [pump.result(each) for each in waiting]
    assert [each.bodies for each in told] == [[], [], [second.body], []]
    assert [each.late for each in told] == [set(), set(), set(), {first.recipients[0].id}]
    states = select(recipient.c.id, recipient.c.state, recipient.c.attempts, recipient.c.text).order_by(recipient.c.id)
    one, two = first.recipients
    [three] = second.recipients
    assert read(database, pump, states) == [
        (one.id, "delivered", 1, f"ok {one.id}"),
        (two.id, "queued", 1, "later"),
        (three.id, "delivered", 1, f"ok {three.id}"),
    ]
    assert sorted(read(database, pump, select(attempt.c.recipient_id, attempt.c.code))) == [
        (one.id, 250),
        (two.id, 451),
        (three.id, 250),
    ]
    unfinished = select(message.c.id).where(message.c.finished.is_(None))
    assert read(database, pump, unfinished) == [(first.id,)]


def test_values_are_written_as_they_are(database: Database, outbox: SqlOutbox, pump: Pump) -> None:
    odd = 'a"\\[{\u00e4\u2028\U0001f600}]%(rows)s?'
    [added] = at_once(outbox, pump, new(1, account=odd, key=odd, to=[odd]))
    [one] = queued(added).recipients
    words = Outcome(one, Result.FAILED, 550, "5.0.0", odd, "hop", odd)
    pump.result(outbox.record([Record(words, State.FAILED)], []))
    assert used(database, pump, odd)[0] == 1
    assert read(database, pump, select(recipient.c.address, recipient.c.text)) == [(odd, odd)]
    assert read(database, pump, select(attempt.c.text, attempt.c.remote)) == [(odd, odd)]
