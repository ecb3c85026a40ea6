"""An Outbox of each kind, the store's and the fake, for the suites about both; with messages, outcomes and records."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from sqlalchemy import Connection

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
from gateway.queue.ports import Outbox
from gateway.store import operator
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import message, recipient
from tests.fakes import FakeOutbox
from tests.pump import Pump
from tests.queued import queued
from tests.stores import KINDS, running, url_of

T = TypeVar("T")


class Subject(Protocol):
    outbox: Outbox

    def wait(self, awaitable: Awaitable[T]) -> T: ...

    def pass_time(self, seconds: float) -> None: ...

    def delete(self, recipient_id: int) -> None: ...

    def hold(self, recipient_id: int) -> None: ...

    def release(self, recipient_id: int) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeOutbox()
        self.outbox: Outbox = self.fake

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


class SqlSubject:
    def __init__(self, database: Database, pump: Pump) -> None:
        self.database, self.pump = database, pump
        outbox = SqlOutbox(database, "test")
        pump.result(outbox.register())
        self.outbox: Outbox = outbox

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.pump.result(awaitable)

    def pass_time(self, seconds: float) -> None:
        """The store's clock is the database's: the rows are moved into the past instead."""
        due = recipient.update().values(next_attempt=recipient.c.next_attempt - seconds)
        accepted = message.update().values(accepted=message.c.accepted - seconds)

        def move(connection: Connection) -> None:
            connection.execute(due)
            connection.execute(accepted)

        self.wait(self.database.write(move))

    def delete(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.delete(connection, str(recipient_id))))

    def hold(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.hold(connection, str(recipient_id))))

    def release(self, recipient_id: int) -> None:
        self.wait(self.database.write(lambda connection: operator.release(connection, str(recipient_id))))


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
) -> NewMessage:
    return NewMessage(id_, account, ENVELOPE, HEADER, body, recipients or (TO, BLIND))


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
    return subject.wait(subject.outbox.record(records, reports))


def take(subject: Subject, limit: int = 10) -> list[QueuedMessage]:
    return subject.wait(subject.outbox.take(limit))


def counts(subject: Subject) -> tuple[int, int, int, int]:
    c: QueueCounts = subject.wait(subject.outbox.counts())
    return c.queued, c.deferred, c.active, c.held
