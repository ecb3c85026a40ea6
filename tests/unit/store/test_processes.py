"""Who lives, whose leases end: by the lock file on one machine, by the heartbeat among many; and two machines at one queue."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text, update
from twisted.internet.defer import Deferred, gatherResults

from gateway.errors import Unavailable
from gateway.queue.model import (
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Outcome,
    Recipient,
    Record,
    Recorded,
    Result,
    State,
)
from gateway.store import processes
from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.outcomes import record
from gateway.store.processes import DEAD_AFTER, GAP, QUIET
from gateway.store.schema import message, process, recipient
from tests.pump import Pump, deferred
from tests.queued import queued
from tests.servers.databases import Postgresql
from tests.stores import KINDS, postgresql_url, running, url_of

ALMOST_DEAD = DEAD_AFTER - 15  # seconds: the database's own clock goes on meanwhile, by as much as a busy machine takes


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    return postgresql_url(postgresql)


@pytest.fixture
def database(url: str, pump: Pump) -> Iterator[Database]:
    with running(url, pump) as database:
        yield database


class Machine:
    """One gateway of `others` over a store."""

    def __init__(self, database: Database, pump: Pump, name: str, others: Sequence["Machine"] = ()) -> None:
        self.database, self.pump = database, pump
        self.outbox = SqlOutbox(database, name, lambda name: True)
        self.all = [self, *others]
        pump.result(self.outbox.register())

    def beat(self) -> None:
        self.pump.result(self.outbox.processes.beat())

    def add(self, *ids: str, recipients: int = 1) -> list[Recipient]:
        return [
            one for id_ in ids for one in queued(self.pump.result(self.outbox.add(new(id_, recipients), lease=True))).recipients
        ]

    def take(self, limit: int = 10) -> list[Recipient]:
        return [one for message in self.pump.result(self.outbox.take(limit)) for one in message.recipients]

    def still_ours(self, recipients: list[Recipient]) -> list[Recipient]:
        return self.pump.result(self.outbox.still_ours(recipients))

    def deliver(self, one: Recipient) -> None:
        self.pump.result(self.outbox.record([done(one)], []))

    def states(self) -> list[str]:
        query = select(recipient.c.state).order_by(recipient.c.id)
        return self.pump.result(self.database.read(lambda connection: list(connection.execute(query).scalars())))

    def names(self) -> list[str]:
        query = select(process.c.name).order_by(process.c.id)
        return self.pump.result(self.database.read(lambda connection: list(connection.execute(query).scalars())))


def new(id_: str, recipients: int = 1) -> NewMessage:
    to = tuple(NewRecipient(f"{n}@example.net", Field.TO) for n in range(recipients))
    return NewMessage(id_, "7", Envelope("me@example.com"), b"A: b\r\n\r\n", Inline(b"Hello\r\n"), to)


@pytest.fixture
def two(database: Database, pump: Pump) -> Machine:
    return Machine(database, pump, "two")


@pytest.fixture
def one(database: Database, pump: Pump, two: Machine) -> Machine:
    return Machine(database, pump, "one", [two])


def pass_time(machine: Machine, seconds: float, *others: Machine) -> None:
    """The store's clock goes on; the hearts of `machine` and of `others` beat meanwhile."""
    step = GAP / 2
    while seconds > 0:
        later(machine, min(step, seconds))
        for each in (machine, *others):
            each.beat()
        seconds -= step


def later(machine: Machine, seconds: float) -> None:
    """The store's clock is the database's: what is remembered of it is moved into the past instead."""
    change = update(process).values(heartbeat=process.c.heartbeat - seconds)
    machine.pump.result(machine.database.write(lambda connection: connection.execute(change) and None))
    for each in machine.all:
        life = each.outbox.processes._life
        each.outbox.processes._life = replace(life, since=life.since - seconds, last=life.last - seconds)


def test_the_mail_of_a_dead_machine_is_taken_over(one: Machine, two: Machine) -> None:
    theirs = two.add("0000000000000001", "0000000000000002")
    pass_time(one, ALMOST_DEAD)
    assert one.take() == []
    pass_time(one, DEAD_AFTER + 2 - ALMOST_DEAD)
    assert one.take() == theirs
    assert one.names() == ["one"]


def test_of_one_that_lives_nothing_is_taken(one: Machine, two: Machine) -> None:
    theirs = two.add("0000000000000001")
    pass_time(one, 4 * DEAD_AFTER, two)
    assert one.take() == []
    assert two.still_ours(theirs) == theirs


def test_in_small_steps(one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STEP", 2)
    two.add("0000000000000001", recipients=5)
    pass_time(one, DEAD_AFTER + 2)
    assert len(one.take()) == 5
    assert one.names() == ["one"]


def test_one_that_wakes_up_has_lost_what_was_its_own_and_goes_on_under_another_number(one: Machine, two: Machine) -> None:
    [theirs] = two.add("0000000000000001")
    number = two.outbox.processes.number
    pass_time(one, DEAD_AFTER + 2)
    [taken] = one.take()
    assert two.still_ours([theirs]) == []
    two.deliver(theirs)  # too late
    assert one.states() == ["queued"]
    two.beat()
    assert two.outbox.processes.number > number
    assert one.names() == ["one", "two"]
    two.deliver(theirs)
    assert two.still_ours([theirs]) == []
    assert one.still_ours([taken]) == [taken]
    assert two.still_ours(two.add("0000000000000002")) != []
    one.deliver(taken)
    assert one.states() == ["delivered", "queued"]


def test_what_it_takes_again_after_it_woke_up_is_another_lease(one: Machine, two: Machine) -> None:
    """The delivery that was under way when it was stopped must not go on beside the new one."""
    [before] = two.add("0000000000000001")
    pass_time(one, DEAD_AFTER + 2)
    two.beat()
    [after] = two.take()
    assert after == before  # the same recipient
    assert two.still_ours([before]) == []
    assert two.still_ours([after]) == [after]
    two.deliver(before)
    two.pump.result(two.outbox.release([before]))
    assert two.still_ours([after]) == [after]
    assert two.pump.result(two.outbox.hold_back([before])) == 0


def test_a_lease_that_is_committed_after_its_machine_was_buried_is_found(one: Machine, two: Machine) -> None:
    pass_time(one, DEAD_AFTER + 2)
    assert one.names() == ["one"]
    late = two.add("0000000000000001")  # its heart has not beaten yet
    one.beat()
    assert one.take() == late


def stand_still(machine: Machine) -> None:
    """By its own clock it is long since its heart has beaten, and it has not beaten again."""
    machine.beat()
    machine.outbox.processes._beaten_at = machine.database.clock() - QUIET - 1


@pytest.mark.parametrize("takes", [False, True])
def test_one_that_wakes_up_leases_under_a_number_of_the_living(one: Machine, two: Machine, takes: bool) -> None:
    """What it leased under the number that was buried, another would free and send at once, beside it."""
    stand_still(two)
    pass_time(one, DEAD_AFTER + 2)
    assert one.names() == ["one"]
    if takes:
        one.pump.result(one.outbox.add(new("0000000000000001"), lease=False))
    theirs = two.take() if takes else two.add("0000000000000001")
    one.beat()
    assert one.take() == []
    assert two.still_ours(theirs) == theirs != []


def test_one_that_wakes_up_takes_one_new_number_however_many_ask(one: Machine, two: Machine) -> None:
    stand_still(two)
    pass_time(one, DEAD_AFTER + 2)
    works = (two.outbox.take(1), two.outbox.processes.beat(), two.outbox.still_ours([]), two.outbox.processes.beat())
    two.pump.result(gatherResults([deferred(work) for work in works]))
    assert one.names() == ["one", "two"]


def test_one_that_wakes_up_before_it_is_buried_says_that_it_lives_before_it_goes_on(one: Machine, two: Machine) -> None:
    theirs = two.add("0000000000000001")
    stand_still(two)
    pass_time(one, ALMOST_DEAD)
    assert two.still_ours(theirs) == theirs  # trusted for a while from now on
    pass_time(one, ALMOST_DEAD)
    assert one.take() == []


def test_after_the_store_was_away_nobody_is_buried_whose_heart_beats_again(one: Machine, two: Machine) -> None:
    theirs = two.add("0000000000000001")
    pass_time(one, 2 * DEAD_AFTER, two)
    later(one, 1000.0)  # nobody's heart could beat
    one.beat()
    assert one.take() == []
    pass_time(one, ALMOST_DEAD)
    assert one.take() == []
    two.beat()
    assert two.still_ours(theirs) == theirs
    pass_time(one, DEAD_AFTER + 2)  # now it is dead
    assert one.take() == theirs


def test_one_that_has_just_started_buries_nobody_yet(one: Machine, two: Machine) -> None:
    two.add("0000000000000001")
    later(one, DEAD_AFTER + 10)
    three = Machine(one.database, one.pump, "three", [one, two])
    three.beat()
    assert three.take() == []
    pass_time(three, DEAD_AFTER + 1)
    assert len(three.take()) == 1


def test_a_restart_ends_the_leases_of_its_earlier_life_at_once_and_no_others(one: Machine, two: Machine) -> None:
    ours, theirs = one.add("0000000000000001"), two.add("0000000000000002")
    again = Machine(one.database, one.pump, "one")
    assert again.take() == ours
    assert two.still_ours(theirs) == theirs
    assert again.names() == ["two", "one"]


def test_a_beat_that_the_store_does_not_take_is_for_the_next_turn(one: Machine, postgresql: Postgresql) -> None:
    postgresql.process.kill()
    assert isinstance(one.pump.failure(one.outbox.processes.beat()), Unavailable)
    postgresql.process.start()
    number = one.outbox.processes.number
    one.beat()
    assert one.outbox.processes.number == number


@pytest.mark.parametrize("kind", KINDS)
def test_no_recipient_is_given_to_two_machines(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url, count = url_of(kind, tmp_path, request), 60

    def fill(machine: Machine) -> None:
        for n in range(count):
            machine.pump.result(machine.outbox.add(new(f"{n:016}", 3), lease=False))

    def work(name: int) -> list[int]:
        pump, taken = Pump(), []
        with running(url, pump) as database:
            machine = Machine(database, pump, str(name))
            while some := machine.take(5):
                for each in some:
                    machine.deliver(each)
                taken += [each.id for each in some]
        return taken

    pump = Pump()
    with running(url, pump) as database:
        fill(Machine(database, pump, "first"))
        with ThreadPoolExecutor() as machines:
            taken = Counter(id_ for ids in machines.map(work, range(4)) for id_ in ids)
        assert len(taken) == 3 * count
        assert set(taken.values()) == {1}
        left = pump.result(database.read(lambda c: c.execute(select(message.c.id).where(message.c.finished.is_(None))).all()))
        assert left == []


@pytest.mark.parametrize(("locked", "left"), [("message_id LIKE '%1'", (3, 4)), ("position = 0", (2, 4))])
def test_nobody_waits_for_rows_that_another_machine_has_in_hand(
    one: Machine, two: Machine, url: str, locked: str, left: tuple[int, int]
) -> None:
    for id_ in ("0000000000000001", "0000000000000002"):
        one.pump.result(one.outbox.add(new(id_, 2), lease=False))
    pump = Pump()
    with running(url, pump) as database:

        def hold(connection: Connection) -> list[int]:
            connection.execute(text(f"SELECT 1 FROM recipient WHERE {locked} FOR UPDATE"))
            return [each.id for _ in range(2) for each in two.take(1)]

        assert tuple(pump.result(database.write(hold))) == left


def test_the_last_two_recipients_of_a_message_finished_by_two_machines_at_once(one: Machine, two: Machine, url: str) -> None:
    """Neither sees what the other has not committed; the message must be let go all the same."""
    one.pump.result(one.outbox.add(new("0000000000000001", 2), lease=False))
    first, second = one.take()
    other, recording = Pump(), list[Deferred[Recorded]]()
    with running(url, other) as database:
        theirs = SqlOutbox(database, "two")  # its outcome comes under our number, as good as under its own

        def first_and_wait(connection: Connection) -> None:
            record(connection, [([done(first)], [], None)])
            recording.append(theirs.record([done(second)], []))
            other.turn()
            came = text(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted) OR state <> 'queued' FROM recipient WHERE id = :id"
            )
            while not connection.execute(came, {"id": second.id}).scalar_one():
                connection.execute(text("SELECT pg_sleep(0.01)"))

        one.pump.result(one.database.write(first_and_wait))
        other.result(recording[0])
        assert None not in other.result(database.read(lambda c: c.execute(select(message.c.finished)).scalars().all()))


def done(one: Recipient) -> Record:
    return Record(Outcome(one, Result.DELIVERED, 250, "2.0.0", "ok", "hop:25", "mx"), State.DELIVERED)
