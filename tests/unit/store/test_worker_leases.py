"""Leases of the workers of one gateway: ended with the one that died, and with all of them when the gateway begins anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.store.database import Database
from gateway.store.outbox import SqlOutbox
from gateway.store.process_name import ProcessName, read
from gateway.store.schema import process
from tests.pump import Pump
from tests.queued import queued
from tests.stores import KINDS, running, url_of
from tests.unit.store.test_processes import new

HERE, ELSEWHERE = "/var/lib/smtp-gateway", "/srv/other"


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=KINDS)
def database(tmp_path: Path, request: pytest.FixtureRequest, pump: Pump) -> Iterator[Database]:
    with running(url_of(request.param, tmp_path, request), pump) as database:
        yield database


class Gateway:
    """A parent and its two workers, each with a message leased; `others` live as far as it knows."""

    def __init__(self, database: Database, pump: Pump, place: str, lives: tuple[str, ...] = (HERE, ELSEWHERE)) -> None:
        self.database, self.pump, self.place, self.lives = database, pump, place, lives
        self.parent = self.begin(0)
        self.workers = [self.begin(number) for number in (1, 2)]

    def begin(self, worker: int) -> SqlOutbox:
        outbox = SqlOutbox(self.database, self.place, lambda name: name in self.lives, worker)
        self.pump.result(outbox.register())
        return outbox

    def lease(self) -> None:
        for number, outbox in enumerate(self.workers):
            id_ = f"{self.place.strip('/').replace('/', '').replace('-', ''):0<15.15}{number}"
            queued(self.pump.result(outbox.add(new(id_), lease=True)))

    def free(self, outbox: SqlOutbox) -> list[str]:
        """The messages that nobody has leased, by the last character of their ids; they are leased by `outbox` then."""
        return sorted(message.id[-1] for message in self.pump.result(outbox.take(10)))

    def names(self) -> list[str]:
        query = select(process.c.name).order_by(process.c.name)
        return self.pump.result(self.database.read(lambda connection: list(connection.execute(query).scalars())))


@pytest.fixture
def gateway(database: Database, pump: Pump) -> Gateway:
    made = Gateway(database, pump, HERE)
    made.lease()
    return made


def test_the_leases_of_a_dead_worker_are_free_at_once_and_those_of_the_others_are_not(gateway: Gateway) -> None:
    assert gateway.free(gateway.workers[1]) == []
    gateway.pump.result(gateway.parent.processes.bury(1))
    assert gateway.names() == [HERE, f"worker 2 of {HERE}"]
    assert gateway.free(gateway.workers[1]) == ["0"]


def test_a_worker_that_was_never_there_can_be_buried(gateway: Gateway) -> None:
    gateway.pump.result(gateway.parent.processes.bury(7))
    assert gateway.free(gateway.workers[1]) == []


def test_a_worker_begins_anew_beside_the_others(gateway: Gateway) -> None:
    again = gateway.begin(1)
    assert gateway.free(again) == ["0"]
    assert len(gateway.names()) == 3


def test_a_gateway_that_begins_anew_ends_the_leases_of_all_its_workers(gateway: Gateway) -> None:
    parent = gateway.begin(0)
    assert gateway.names() == [HERE]
    assert gateway.free(parent) == ["0", "1"]


def test_workers_of_another_gateway_are_left_alone(gateway: Gateway, database: Database, pump: Pump) -> None:
    other = Gateway(database, pump, ELSEWHERE)
    other.lease()
    gateway.begin(0)
    pump.result(gateway.parent.processes.bury(1))
    assert f"worker 1 of {ELSEWHERE}" in gateway.names()
    assert len(other.free(other.workers[0])) == 2  # those of the first gateway


def test_workers_of_a_gateway_that_is_dead_are_dead(gateway: Gateway, database: Database, pump: Pump) -> None:
    other = Gateway(database, pump, ELSEWHERE, lives=(ELSEWHERE,))
    assert gateway.names() == sorted([ELSEWHERE, f"worker 1 of {ELSEWHERE}", f"worker 2 of {ELSEWHERE}"])
    assert other.free(other.workers[0]) == ["0", "1"]


@given(st.text(min_size=1).map(lambda name: f"/{name}"), st.integers(0, 1000))
def test_names_are_read_as_they_were_written(gateway: str, worker: int) -> None:
    assert read(str(ProcessName(gateway, worker))) == ProcessName(gateway, worker)
