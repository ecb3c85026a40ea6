"""Lives of workers by a clock: pauses before they are started again, answers waited for, ends."""

import errno
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.orders import ANSWERS, FIGURES, LISTENING, Begin, Channel, Leave, Order, Reload, Report, answer_frame, read_order
from gateway.share import Share
from gateway.supervisor import LOST, PATIENCE, POLL, STEADY, STOP_PATIENCE, Supervisor, WorkerProcess, how, pause_before

KILLED = ProcessTerminated(signal=9)
CRASHED = ProcessTerminated(exitCode=1)
DONE = ProcessDone(None)
ANYTHING: Any = None


class Pipes:
    """The parent's ends of a worker's pipes, and the worker behind them."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.orders: list[tuple[int, Order]] = []
        self.signals: list[str] = []
        self.gone = False
        self._read = Channel(lambda frame: self.orders.append(read_order(frame)), lambda: None)
        process.makeConnection(self)  # type: ignore[no-untyped-call]

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == 0
        if self.gone:
            raise KeyError(descriptor)  # as Twisted does once it has noticed that the pipe is closed
        self._read.receive(data)

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def say(self, number: int, content: Mapping[str, object]) -> None:
        frame = answer_frame(number, content)
        self.process.childDataReceived(ANSWERS, len(frame).to_bytes(4, "big") + frame)

    def answer(self, content: Mapping[str, object]) -> None:
        """To the last order."""
        self.say(self.orders[-1][0], content)

    def end(self, error: Exception) -> None:
        self.gone = True
        self.process.processEnded(Failure(error))


class World:
    """A supervisor of two, its clock, whom it tells, and all the workers that there ever were."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workers: list[Pipes] = []
        self.heard: list[tuple[int, Mapping[str, Any]]] = []
        self.buried: list[int] = []
        self.burial: Deferred[None] | None = None
        self.error: OSError | None = None
        self.supervisor = Supervisor(2, self.spawn, self.clock, self)

    def spawn(self, process: WorkerProcess) -> None:
        if self.error is not None:
            raise self.error
        self.workers.append(Pipes(process))

    def begin_order(self, worker: int) -> Order:
        return Begin(ANYTHING, Share(worker, 2), b"key", "")

    def said(self, worker: int, what: Mapping[str, Any]) -> None:
        self.heard.append((worker, what))

    async def ended(self, worker: int) -> None:
        self.buried.append(worker)
        if self.burial is not None:
            await self.burial

    def numbers(self) -> list[int]:
        return [pipes.process.number for pipes in self.workers]


@pytest.fixture
def world() -> World:
    world = World()
    world.supervisor.start()
    return world


def test_each_begins_with_its_number(world: World) -> None:
    assert [pipes.orders for pipes in world.workers] == [
        [(0, Begin(ANYTHING, Share(1, 2), b"key", ""))],
        [(0, Begin(ANYTHING, Share(2, 2), b"key", ""))],
    ]


def test_one_that_dies_comes_back_after_longer_and_longer_pauses(world: World) -> None:
    pauses = []
    for _ in range(9):
        world.workers[-1].end(KILLED)
        began, known = world.clock.seconds(), len(world.workers)
        while len(world.workers) == known:
            world.clock.advance(0.5)
        pauses.append(world.clock.seconds() - began)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert set(world.numbers()[1:]) == {2}


def test_a_minute_of_life_begins_the_pauses_anew(world: World) -> None:
    for lived, pause in ((0, 0.5), (STEADY - 1, 1.0), (STEADY, 0.5), (1, 1.0)):
        for _ in range(int(lived)):
            world.clock.advance(1)
            for pipes in world.workers:
                pipes.say(0, {})
        world.workers[-1].end(CRASHED)
        known = len(world.workers)
        world.clock.advance(pause - 0.01)
        assert len(world.workers) == known
        world.clock.advance(0.01)
        assert len(world.workers) == known + 1


@given(st.integers(1, 10_000))
def test_a_pause_is_half_a_second_at_least_and_half_a_minute_at_most(starts: int) -> None:
    assert 0.5 <= pause_before(starts) <= 30


def test_one_is_not_started_again_before_its_remains_are_cleared(world: World) -> None:
    world.burial = Deferred()
    world.workers[0].end(KILLED)
    assert world.buried == [1]
    world.clock.advance(40)
    assert world.numbers() == [1, 2]
    world.burial.callback(None)
    world.clock.advance(0.5)
    assert world.numbers() == [1, 2, 1]


def test_all_are_asked_and_waited_for(world: World) -> None:
    asked = world.supervisor.ask(Report())
    assert [pipes.orders[-1][1] for pipes in world.workers] == [Report(), Report()]
    world.workers[1].answer({FIGURES: ["two"]})
    assert not asked.called
    world.workers[0].answer({FIGURES: ["one"]})
    assert asked.called
    assert world.heard == [(2, {FIGURES: ["two"]}), (1, {FIGURES: ["one"]})]


def test_nobody_waits_for_the_dead_or_for_the_slow(world: World) -> None:
    first = world.supervisor.ask(Reload(ANYTHING))
    world.workers[0].answer({})
    world.workers[1].end(KILLED)
    assert first.called
    second = world.supervisor.ask(Report())
    world.clock.advance(PATIENCE)
    assert second.called
    world.workers[0].answer({FIGURES: []})  # late, and good for the next scrape all the same
    assert world.heard[-1] == (1, {FIGURES: []})


def test_one_whose_pipe_is_closed_is_waited_for_until_it_is_known_to_be_dead(world: World) -> None:
    world.workers[0].gone = True
    asked = world.supervisor.ask(Report())
    world.workers[1].answer({})
    world.workers[0].end(KILLED)
    assert asked.called


def test_one_that_cannot_be_started_now_is_started_later(world: World) -> None:
    world.error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    with capture_logs() as logs:
        world.workers[0].end(KILLED)
        world.clock.advance(0.5)
    assert logs[-1]["how"] == "not started: Resource temporarily unavailable"
    world.error = None
    world.clock.advance(1.0)
    assert world.numbers() == [1, 2, 1]


def test_answers_belong_to_their_questions(world: World) -> None:
    first, second = world.supervisor.ask(Report()), world.supervisor.ask(Reload(ANYTHING))
    for pipes in world.workers:
        pipes.answer({})
    assert (first.called, second.called) == (False, True)


def test_what_is_said_by_itself_is_passed_on(world: World) -> None:
    world.workers[1].say(0, {LISTENING: True})
    assert world.heard == [(2, {LISTENING: True})]


def test_a_frame_in_pieces(world: World) -> None:
    frame = answer_frame(0, {LISTENING: True})
    for octet in len(frame).to_bytes(4, "big") + frame:
        world.workers[0].process.childDataReceived(ANSWERS, bytes([octet]))
    assert world.heard == [(1, {LISTENING: True})]


def test_one_that_stands_still_is_killed_and_one_that_answers_is_not(world: World) -> None:
    for _ in range(LOST):
        world.clock.advance(POLL)
        world.workers[0].answer({})
    assert [pipes.signals for pipes in world.workers] == [[], []]
    with capture_logs() as logs:
        world.clock.advance(POLL)
    assert [pipes.signals for pipes in world.workers] == [[], ["KILL"]]
    assert logs[0]["number"] == 2


def test_a_machine_that_slept_kills_nobody(world: World) -> None:
    world.clock.advance(100 * POLL)
    assert [pipes.signals for pipes in world.workers] == [[], []]


def test_a_stop_waits_for_all(world: World) -> None:
    stopped = world.supervisor.stop()
    assert [pipes.orders[-1] for pipes in world.workers] == [(0, Leave())] * 2
    world.workers[0].end(DONE)
    assert not stopped.called
    world.workers[1].end(DONE)
    assert stopped.called
    world.clock.advance(100)
    assert world.numbers() == [1, 2]
    assert world.clock.getDelayedCalls() == []


def test_a_stop_kills_who_does_not_end(world: World) -> None:
    stopped = world.supervisor.stop()
    world.workers[0].end(DONE)
    world.clock.advance(STOP_PATIENCE)
    assert [pipes.signals for pipes in world.workers] == [[], ["KILL"]]
    world.workers[1].end(KILLED)
    assert stopped.called


@pytest.mark.parametrize("cleared", [True, False])
def test_nobody_is_started_again_in_a_stop(world: World, cleared: bool) -> None:
    world.burial = None if cleared else Deferred()
    world.workers[0].end(KILLED)
    stopped = world.supervisor.stop()
    burial, world.burial = world.burial, None
    world.workers[1].end(DONE)
    assert stopped.called is cleared
    if burial is not None:
        burial.callback(None)
    assert stopped.called
    world.clock.advance(100)
    assert world.numbers() == [1, 2]


def test_a_death_is_said_but_not_the_end_that_was_asked_for(world: World) -> None:
    with capture_logs() as logs:
        world.workers[0].end(KILLED)
        world.supervisor.stop()
        world.workers[1].end(DONE)
    assert [(line["event"], line["number"], line["how"], line["restart_in"]) for line in logs] == [
        ("worker died", 1, "signal 9", 0.5)
    ]


@pytest.mark.parametrize(("error", "words"), [(KILLED, "signal 9"), (CRASHED, "status 1"), (DONE, "status 0")])
def test_how_it_ended(error: Exception, words: str) -> None:
    assert how(Failure(error)) == words
