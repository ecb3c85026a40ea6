"""An Outbox of each kind, the store's and the fake, for the suites about both; with messages, outcomes and records."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from sqlalchemy import Connection

from gateway.queue.allowance import DAY, Terms
from gateway.queue.model import (
    Added,
    BodyRef,
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    QueueCounts,
    QueuedMessage,
    Recipient,
    Record,
    Result,
    Spooled,
    State,
)
from gateway.queue.ports import Ledger, Outbox
from gateway.store import operator, suspensions
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import message, recipient, resend, suspension, usage_day
from gateway.store.usage import SqlLedger, usage_of
from tests.fakes import FakeLedger, FakeOutbox
from tests.pump import Pump
from tests.queued import queued
from tests.stores import KINDS, running, url_of

T = TypeVar("T")


class Subject(Protocol):
    outbox: Outbox
    ledger: Ledger

    def wait(self, awaitable: Awaitable[T]) -> T: ...

    def pass_time(self, seconds: float) -> None: ...

    def delete(self, recipient_id: int) -> None: ...

    def hold(self, recipient_id: int) -> None: ...

    def release(self, recipient_id: int) -> None: ...

    def lift(self, account: str) -> None: ...

    def used(self, account: str) -> list[tuple[int, ...]]:
        """Each day that was charged, the latest first: messages, recipients (to, cc, bcc), octets."""
        ...


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeOutbox()
        self.outbox: Outbox = self.fake
        self.ledger: Ledger = FakeLedger(self.fake.usage, self.fake.sent_lately)

    def wait(self, awaitable: Awaitable[T]) -> T:
        return Pump().result(awaitable)

    def pass_time(self, seconds: float) -> None:
        self.fake.now += seconds

    def delete(self, recipient_id: int) -> None:
        self.fake.delete(recipient_id)

    def hold(self, recipient_id: int) -> None:
        self.fake.hold(recipient_id)

    def release(self, recipient_id: int) -> None:
        self.fake.release_held(recipient_id)

    def lift(self, account: str) -> None:
        self.fake.usage.lift(account)

    def used(self, account: str) -> list[tuple[int, ...]]:
        rows = sorted((day, row) for (owner, day), row in self.fake.usage.days.items() if owner == account)
        return [tuple(row[name] for name in ("messages", "to", "cc", "bcc", "bytes")) for _, row in reversed(rows)]


class SqlSubject:
    def __init__(self, database: Database, pump: Pump) -> None:
        self.database, self.pump = database, pump
        outbox = SqlOutbox(database, "test")
        pump.result(outbox.register())
        self.outbox: Outbox = outbox
        self.ledger: Ledger = SqlLedger(database, lambda: 0.0)

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.pump.result(awaitable)

    def pass_time(self, seconds: float) -> None:
        """The store's clock is the database's: its rows are moved into the past, the days of an account by whole days."""
        times = (recipient.c.next_attempt, message.c.accepted, resend.c.at, suspension.c.at)
        days = int(seconds // DAY)
        away = 1_000_000  # first, so that no row meets another one on its way

        def move(connection: Connection) -> None:
            for time in times:
                connection.execute(time.table.update().values({time: time - seconds}))
            connection.execute(suspension.update().values(day=suspension.c.day - days))
            connection.execute(usage_day.update().values(day=usage_day.c.day + away))
            connection.execute(usage_day.update().values(day=usage_day.c.day - away - days))

        self.wait(self.database.write(move))

    def delete(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.delete(connection, str(recipient_id))))

    def hold(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.hold(connection, str(recipient_id))))

    def release(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.release(connection, str(recipient_id))))

    def lift(self, account: str) -> None:
        self.wait(self.database.write(lambda connection: suspensions.lift(connection, account)))

    def used(self, account: str) -> list[tuple[int, ...]]:
        days = self.wait(self.database.read(lambda connection: usage_of(connection, account, 10)))
        return [(d.messages, d.to_recipients, d.cc_recipients, d.bcc_recipients, d.bytes) for d in days]


@contextmanager
def sql_subject(url: str) -> Iterator[SqlSubject]:
    pump = Pump()
    with running(url, pump) as database:
        yield SqlSubject(database, pump)


SUBJECTS = (*KINDS, "fake")


@contextmanager
def subject_of(request: pytest.FixtureRequest, folder: Path) -> Iterator[Subject]:
    """The one of SUBJECTS that is the parameter of `request`."""
    if request.param == "fake":
        yield FakeSubject()
    else:
        with sql_subject(url_of(request.param, folder, request)) as subject:
            yield subject


ENVELOPE = Envelope("me@example.com", eight_bit=True, smtputf8=True, ret="HDRS", envid="QQ+2B1")
HEADER = b"Subject: \xc3\xa4\r\n\r\n"
TO = NewRecipient("You@Example.NET", Field.TO, "FAILURE,DELAY", "rfc822;you@example.net")
BLIND = NewRecipient("blind@example.org", Field.BCC)


def new(
    id_: str = "0000000000000001",
    *recipients: NewRecipient,
    body: BodyRef = Inline(b"Hello\x00\r\n"),  # noqa: B008
    account: str = "7",
    terms: Terms | None = None,
    key: str = "",
) -> NewMessage:
    return NewMessage(id_, account, ENVELOPE, HEADER, body, recipients or (TO, BLIND), terms, key)


def outcome(recipient: Recipient, result: Result, *, burns: bool = True) -> Outcome:
    return Outcome(recipient, result, 250, "2.0.0", "fine", "hop:25", "mx.example.net", burns_attempt=burns)


def delivered(recipient: Recipient) -> Record:
    return Record(outcome(recipient, Result.DELIVERED), State.DELIVERED)


def again(recipient: Recipient, delay: float, *, burns: bool = True, warned: bool = False) -> Record:
    return Record(outcome(recipient, Result.RETRY, burns=burns), State.QUEUED, delay, warned)


def failed(recipient: Recipient) -> Record:
    return Record(outcome(recipient, Result.FAILED), State.FAILED)


def add(subject: Subject, message: NewMessage, *, lease: bool = False) -> Added:
    return subject.wait(subject.outbox.add(message, lease=lease))


def leased(subject: Subject, message: NewMessage | None = None) -> QueuedMessage:
    return queued(add(subject, message or new(), lease=True))


def record(subject: Subject, *records: Record, reports: Sequence[NewMessage] = ()) -> list[Spooled]:
    return list(subject.wait(subject.outbox.record(records, reports)).bodies)


def take(subject: Subject, limit: int = 10) -> list[QueuedMessage]:
    return subject.wait(subject.outbox.take(limit))


def counts(subject: Subject) -> tuple[int, int, int, int]:
    c: QueueCounts = subject.wait(subject.outbox.counts())
    return c.queued, c.deferred, c.active, c.held
