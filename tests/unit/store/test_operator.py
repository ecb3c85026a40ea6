"""What operators see of the queue and do to it, beside a server that has leases."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import NotFound
from gateway.queue.model import (
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    QueuedMessage,
    Recipient,
    Record,
    Result,
    Spooled,
    State,
)
from gateway.store import operator
from gateway.store.engine import opened
from gateway.store.outbox import SqlOutbox
from tests.pump import Pump
from tests.queued import queued
from tests.stores import KINDS, running, url_of


@dataclass
class Server:
    url: str
    outbox: SqlOutbox
    pump: Pump

    def add(self, id_: str, *to: str, account: str = "7", lease: bool = False, spooled: bool = False) -> QueuedMessage:
        body = Spooled(id_, 70_000) if spooled else Inline(b"Hello\r\n")
        recipients = tuple(NewRecipient(one, Field.TO) for one in to)
        message = NewMessage(id_, account, Envelope("me@example.com", envid="E"), b"A: b\r\n\r\n", body, recipients)
        return queued(self.pump.result(self.outbox.add(message, lease=lease)))

    def record(self, one: Recipient, result: Result, state: State, delay: float = 0.0) -> None:
        outcome = Outcome(one, result, 450, "4.2.0", "busy", "hop:25", "mx.example")
        self.pump.result(self.outbox.record([Record(outcome, state, delay)], []))


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    url, pump = url_of(request.param, tmp_path, request), Pump()
    with running(url, pump) as database:
        outbox = SqlOutbox(database, "host:1")
        pump.result(outbox.register())
        yield Server(url, outbox, pump)


ONE, TWO, THREE = (f"000000000000000{n}" for n in (1, 2, 3))


def listed(
    server: Server, *, state: str = "", account: str = "", domain: str = "", older_than: float = 0.0, limit: int = 100
) -> list[str]:
    with opened(server.url, write=False) as connection:
        found = operator.list_recipients(
            connection, state=state, account=account, domain=domain, older_than=older_than, limit=limit
        )
    return [one.address for one in found]


def test_the_listing_and_its_filters(server: Server) -> None:
    server.add(ONE, "a@one.example", "b@two.example", account="7")
    [late] = server.add(TWO, "c@one.example", account="8", lease=True).recipients
    server.record(late, Result.FAILED, State.FAILED)
    server.add(THREE, "d@ONE.example", account="8")
    assert listed(server) == ["a@one.example", "b@two.example", "d@ONE.example"]
    assert listed(server, limit=1) == ["a@one.example"]
    assert listed(server, state="failed") == ["c@one.example"]
    assert listed(server, state="queued", account="8") == ["d@ONE.example"]
    assert listed(server, domain="One.Example") == ["a@one.example", "d@ONE.example"]
    assert listed(server, older_than=3600.0) == []
    assert listed(server, account="nobody") == []


def test_one_listed_recipient(server: Server) -> None:
    [one] = server.add(ONE, "a@one.example", lease=True).recipients
    with opened(server.url, write=False) as connection:
        [shown] = operator.list_recipients(connection)
    assert (shown.leased, shown.next_in, shown.attempts, shown.size) == (True, None, 0, 7 + 8)
    server.record(one, Result.RETRY, State.QUEUED, 600.0)
    with opened(server.url, write=False) as connection:
        [shown] = operator.list_recipients(connection)
    assert (shown.message_id, shown.account_id, shown.sender, shown.field, shown.state) == (
        ONE,
        "7",
        "me@example.com",
        "to",
        "queued",
    )
    assert (shown.leased, shown.attempts, shown.code, shown.enhanced, shown.text, shown.hop) == (
        False,
        1,
        450,
        "4.2.0",
        "busy",
        "hop:25",
    )
    assert shown.next_in == pytest.approx(600.0, abs=30)


def test_show_has_the_header_the_recipients_and_every_attempt(server: Server) -> None:
    [one, two] = server.add(ONE, "a@one.example", "b@two.example", lease=True).recipients
    server.record(one, Result.RETRY, State.QUEUED)
    server.record(two, Result.DELIVERED, State.DELIVERED)
    with opened(server.url, write=False) as connection:
        shown = operator.show(connection, ONE)
        with pytest.raises(NotFound, match=THREE):
            operator.show(connection, THREE)
    assert (shown.header, shown.envid, shown.size) == (b"A: b\r\n\r\n", "E", 15)
    assert [(r.address, r.state) for r in shown.recipients] == [("a@one.example", "queued"), ("b@two.example", "delivered")]
    assert [(a.recipient_id, a.result, a.remote) for a in shown.attempts] == [
        (one.id, "retry", "mx.example"),
        (two.id, "delivered", "mx.example"),
    ]


def test_retry_makes_it_due_but_leaves_what_is_being_delivered(server: Server) -> None:
    [one, two] = server.add(ONE, "a@one.example", "b@two.example", lease=True).recipients
    server.record(one, Result.RETRY, State.QUEUED, 3600.0)
    assert server.pump.result(server.outbox.take(10)) == []
    with opened(server.url, write=True) as connection:
        assert operator.retry(connection, ONE) == 1
    [taken] = server.pump.result(server.outbox.take(10))
    assert [r.id for r in taken.recipients] == [one.id]
    assert server.pump.result(server.outbox.still_ours([two])) == [two]


def test_all_are_retried_in_steps_but_for_the_held_and_those_being_delivered(server: Server) -> None:
    """Concurrent with deliveries: each step takes what waits when its turn comes."""
    for id_ in (ONE, TWO):
        for one in server.add(id_, "a@one.example", "b@two.example", lease=True).recipients:
            server.record(one, Result.RETRY, State.QUEUED, 3600.0)
    server.add(THREE, "c@one.example", lease=True)
    with opened(server.url, write=True) as connection:
        operator.hold(connection, TWO)
    taken: list[int] = []
    for _ in range(4):
        with opened(server.url, write=True) as connection:
            taken += operator.retry_all(connection, after=max(taken, default=0), limit=1)
    assert [r.address for m in server.pump.result(server.outbox.take(10)) for r in m.recipients] == [
        "a@one.example",
        "b@two.example",
    ]
    assert len(taken) == 2
    with opened(server.url, write=True) as connection:
        operator.release(connection, TWO)
        assert len(operator.retry_all(connection, domain="ONE.example", limit=10)) == 1


def test_retry_of_one_recipient_by_its_number(server: Server) -> None:
    [one, two] = server.add(ONE, "a@one.example", "b@two.example", lease=True).recipients
    for each in (one, two):
        server.record(each, Result.RETRY, State.QUEUED, 3600.0)
    with opened(server.url, write=True) as connection:
        assert operator.retry(connection, str(two.id)) == 1
    [taken] = server.pump.result(server.outbox.take(10))
    assert [r.id for r in taken.recipients] == [two.id]


def test_delete_takes_the_lease_and_names_the_body_to_remove(server: Server) -> None:
    [one, two] = server.add(ONE, "a@one.example", "b@two.example", lease=True, spooled=True).recipients
    with opened(server.url, write=True) as connection:
        assert operator.delete(connection, str(one.id)) == operator.Deletion(1, ())
    with opened(server.url, write=True) as connection:
        assert operator.delete(connection, ONE) == operator.Deletion(1, (Spooled(ONE, 70_000),))
    server.record(two, Result.RETRY, State.QUEUED)
    assert server.pump.result(server.outbox.take(10)) == []
    assert listed(server, state="deleted") == ["a@one.example", "b@two.example"]


@pytest.mark.parametrize("id_", [THREE, "9999", "", "x'; DROP TABLE message; --", "٣"])
def test_what_is_not_there_is_said(server: Server, id_: str) -> None:
    with opened(server.url, write=True) as connection:
        for act in (operator.retry, operator.delete):
            with pytest.raises(NotFound, match="no message or recipient"):
                act(connection, id_)


def test_what_is_finished_is_said(server: Server) -> None:
    [one] = server.add(ONE, "a@one.example", lease=True).recipients
    server.record(one, Result.DELIVERED, State.DELIVERED)
    with opened(server.url, write=True) as connection:
        for act in (operator.retry, operator.delete):
            for id_ in (ONE, str(one.id)):
                with pytest.raises(NotFound, match="nobody waits"):
                    act(connection, id_)
