"""What is done to the queue takes as much work with many messages in it as with few: counted in steps of SQLite's machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from gateway.queue.model import Envelope, Field, Inline, NewMessage, NewRecipient
from gateway.store import operator
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from tests.pump import Pump
from tests.stores import running, store_url

FEW, MANY = 3000, 30_000
HOUR = 3600.0

MESSAGES = """
WITH RECURSIVE k(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM k WHERE n < :n)
INSERT INTO message (id, account_id, sender, eight_bit, smtputf8, ret, envid, accepted, finished, body_size, header)
SELECT printf('%016d', n), 'a' || (n % 10), 'me@example.com', 0, 0, '', '', unixepoch() - 1800,
       CASE n % 5 WHEN 0 THEN unixepoch() - 60 END, 1, x'0d0a' FROM k
"""
# A fifth each: delivered, deferred, due, held for its account, due and warned
RECIPIENTS = """
INSERT INTO recipient (message_id, position, address, domain, field, state, attempts, next_attempt, notify, orcpt,
                       delay_warned, code, enhanced, text, hop, finished, hold, held_account)
SELECT id, 0, 'you@example.net', 'example.net', 'to',
       CASE CAST(id AS INTEGER) % 5 WHEN 0 THEN 'delivered' WHEN 3 THEN 'held' ELSE 'queued' END,
       CAST(id AS INTEGER) % 2, unixepoch() + CASE CAST(id AS INTEGER) % 5 WHEN 1 THEN 3600 ELSE -60 END, '', '',
       CAST(id AS INTEGER) % 5 = 4, 0, '', '', '', finished,
       CASE CAST(id AS INTEGER) % 5 WHEN 3 THEN 'account' ELSE '' END,
       CASE CAST(id AS INTEGER) % 5 WHEN 3 THEN account_id END
FROM message
"""

Work = Callable[[SqlOutbox, Database], Any]


def new(number: int) -> NewMessage:
    to = (NewRecipient("you@example.net", Field.TO), NewRecipient("blind@example.org", Field.BCC))
    return NewMessage(f"NEW{number:013}", "7", Envelope("me@example.com"), b"\r\n", Inline(b"x"), to)


def operators(function: Callable[[Connection, str], object], id_: str) -> Work:
    return lambda _, database: database.write(lambda connection: function(connection, id_))


def listed(connection: Connection, _: str) -> object:
    return operator.list_recipients(connection, limit=100)


WORK: dict[str, Work] = {
    "start": lambda outbox, _: outbox.register(),
    "accept": lambda outbox, _: outbox.add(new(1), lease=True),
    "accept without a lease": lambda outbox, _: outbox.add(new(2), lease=False),
    "look for what is due": lambda outbox, _: outbox.next_due(),
    "take": lambda outbox, _: outbox.take(5),
    "look for what is late": lambda outbox, _: outbox.overdue(5, warn_after=HOUR, give_up=10 * HOUR),
    "let go": lambda outbox, _: outbox.let_go("a3", 5),
    "let nothing go": lambda outbox, _: outbox.let_go("nobody", 5),
    "sweep": lambda outbox, _: outbox.sweep(30.0, 5),
    "sweep nothing": lambda outbox, _: outbox.sweep(HOUR, 5),
    "look at bodies": lambda outbox, _: outbox.live_bodies(["0000000000000001", "nobody's"]),
    "show": operators(operator.show, "0000000000000011"),
    "retry": operators(operator.retry, "0000000000000011"),
    "retry some": operators(lambda connection, _: operator.retry_all(connection, limit=5), ""),
    "hold": operators(operator.hold, "0000000000000011"),
    "release": operators(operator.release, "0000000000000013"),
    "delete": operators(operator.delete, "0000000000000011"),
}


@contextmanager
def counted() -> Iterator[list[int]]:
    """The steps taken meanwhile, by all connections, in tens."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    def watch(connection: Connection, *_: object) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(step, 10)

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        yield steps
    finally:
        event.remove(Engine, "before_cursor_execute", watch)


def steps_of(work: Work, messages: int, folder: Path) -> int:
    folder.mkdir()
    pump = Pump()
    with running(store_url(folder), pump) as database:

        def fill(connection: Connection) -> None:
            connection.execute(text(MESSAGES), {"n": messages})
            connection.execute(text(RECIPIENTS))

        pump.result(database.write(fill))
        outbox = SqlOutbox(database, "/here")
        with counted() as steps:
            pump.result(work(outbox, database))
        return steps[0]


@pytest.mark.parametrize("name", WORK)
def test_it_is_as_much_work_in_a_long_queue_as_in_a_short_one(name: str, tmp_path: Path) -> None:
    few, many = (steps_of(WORK[name], messages, tmp_path / str(messages)) for messages in (FEW, MANY))
    assert many <= few * 1.2 + 20


def per_message(work: Work, folder: Path) -> float:
    """The further steps for each further message."""
    few, many = (steps_of(work, messages, folder / str(messages)) for messages in (FEW, MANY))
    return 10 * (many - few) / (MANY - FEW)


def test_counting_reads_an_index_and_no_rows(tmp_path: Path) -> None:
    """It does grow, but by a few steps for each that waits; a look at its message alone would be as many again."""
    assert per_message(lambda outbox, _: outbox.counts(), tmp_path) < 8


def test_held_accounts_are_read_from_an_index(tmp_path: Path) -> None:
    assert per_message(lambda outbox, _: outbox.held_accounts(), tmp_path) < 3


def test_a_list_sorts_numbers_and_no_rows(tmp_path: Path) -> None:
    assert per_message(operators(listed, ""), tmp_path) < 15
