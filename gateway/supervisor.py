"""Keeps worker processes alive: starts them, starts them again when they die, and ends them with us.

Theory of operation. A worker that ends without having been told to is started again after a pause that doubles while it
keeps dying soon. Every POLL seconds each is asked for its figures; one that leaves LOST questions in a row without an answer
stands still (stopped, or caught in something that never returns) and is killed, for it may hold what the others wait for.
Questions are counted, not seconds, so that a machine that slept kills nobody when it wakes up.

Before a dead worker's number is given to a new one, whoever made us is told and clears up after it (`Watch.ended`).
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from gateway import maillog
from gateway.orders import ANSWERS, ORDERS, Channel, Leave, Order, Report, order_frame, read_answer

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a worker is started again
STEADY = 60.0  # seconds of life after which an end is the first again
POLL = 5.0  # seconds between two questions
LOST = 12  # questions without an answer
PATIENCE = 2.0  # seconds that somebody waits for the answers of all
STOP_PATIENCE = 50.0  # seconds that workers may take to end: a little more than they give themselves


class Watch(Protocol):
    """Who has workers supervised."""

    def begin_order(self, worker: int) -> Order:
        """The order that a new worker is to begin with."""

    def said(self, worker: int, what: Mapping[str, Any]) -> None:
        """A worker said something by itself, or answered."""

    def ended(self, worker: int) -> Awaitable[None]:
        """It is dead, and its number given to a new one when this is done. Raises nothing."""


Spawn = Callable[["WorkerProcess"], None]


def pause_before(starts: int) -> float:
    """Seconds before a start that comes after so many short lives, 1 at least."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(starts - 1, 10)))


class WorkerProcess(ProcessProtocol):
    """One life of worker `number`: its pipes, and its end."""

    def __init__(self, number: int, heard: Callable[[int, Mapping[str, Any]], None], ended: Callable[[Failure], None]) -> None:
        self.number = number
        self.unanswered = 0
        self._ended = ended
        self._answers = Channel(lambda frame: heard(*read_answer(frame)), lambda: None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == ANSWERS:
            self._answers.receive(data)

    def processEnded(self, reason: Failure) -> None:
        self._ended(reason)

    def tell(self, number: int, order: Order) -> None:
        frame = order_frame(number, order)
        with suppress(KeyError):  # its pipe is closed: it is dead, and we are about to hear of it
            self._pipes.writeToChild(ORDERS, len(frame).to_bytes(4, "big") + frame)

    def kill(self) -> None:
        with suppress(ProcessExitedAlready):
            self._pipes.signalProcess("KILL")

    @property
    def _pipes(self) -> Any:
        return self.transport


@dataclass(slots=True)
class _Question:
    """An order, and who has not answered it yet."""

    waiting: set[int]
    done: Deferred[None] = field(default_factory=Deferred)

    def settle(self, worker: int) -> None:
        self.waiting.discard(worker)
        if not self.waiting and not self.done.called:
            self.done.callback(None)


class Supervisor:
    """Workers 1 to `count`, each started by `spawn`. `clock` is an IReactorTime."""

    def __init__(self, count: int, spawn: Spawn, clock: Any, watch: Watch) -> None:
        self._count = count
        self._spawn = spawn
        self._clock = clock
        self._watch = watch
        self._living: dict[int, WorkerProcess] = {}
        self._short_lives = dict.fromkeys(range(1, count + 1), 0)
        self._coming: dict[int, Any] = {}  # starts that wait, as IDelayedCall
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._burials = 0  # that go on
        self._stopping: Deferred[None] | None = None
        self._loop = LoopingCall(self._poll)
        self._loop.clock = clock

    def start(self) -> None:
        for number in range(1, self._count + 1):
            self._start(number)
        self._loop.start(POLL, now=False)

    def ask(self, order: Order, patience: float = PATIENCE) -> Deferred[None]:
        """Tell all who live; fires when they have answered or are dead, or after `patience` seconds."""
        self._asked += 1
        number = self._asked
        question = self._questions[number] = _Question(set(self._living))
        limit = self._clock.callLater(patience, self._give_up, number)
        for worker in list(self._living.values()):
            worker.tell(number, order)
        question.done.addCallback(lambda _: self._over(number, limit))
        if not question.waiting:
            question.done.callback(None)
        return question.done

    def stop(self) -> Deferred[None]:
        """Tell all to leave; fires when they have, or have been killed for not doing so."""
        self._stopping = Deferred()
        if self._loop.running:
            self._loop.stop()
        for call in self._coming.values():
            call.cancel()
        self._coming.clear()
        for worker in self._living.values():
            worker.tell(0, Leave())
        limit = self._clock.callLater(STOP_PATIENCE, self._kill_all)
        self._stopping.addCallback(lambda _: limit.cancel() if limit.active() else None)
        self._look_whether_gone()
        return self._stopping

    # Lives

    def _start(self, number: int) -> None:
        self._coming.pop(number, None)
        began = self._clock.seconds()
        worker = WorkerProcess(
            number,
            lambda answer, content: self._heard(worker, answer, content),
            lambda reason: self._ended(worker, began, reason),
        )
        self._living[number] = worker
        try:
            self._spawn(worker)
        except OSError as error:  # no more processes, or descriptors, for now
            self._ended(worker, began, Failure(error))
        else:
            worker.tell(0, self._watch.begin_order(number))

    def _ended(self, worker: WorkerProcess, began: float, reason: Failure) -> None:
        number = worker.number
        del self._living[number]
        for question in list(self._questions.values()):
            question.settle(number)
        lived = self._clock.seconds() - began
        self._short_lives[number] = 1 if lived >= STEADY else self._short_lives[number] + 1
        pause = pause_before(self._short_lives[number])
        if self._stopping is None:
            maillog.worker_died(number, how(reason), pause)
        ensureDeferred(self._bury(number, pause))

    async def _bury(self, number: int, pause: float) -> None:
        self._burials += 1
        await self._watch.ended(number)
        self._burials -= 1
        if self._stopping is None:
            self._coming[number] = self._clock.callLater(pause, self._start, number)
        self._look_whether_gone()

    def _look_whether_gone(self) -> None:
        if self._stopping is not None and not (self._living or self._burials or self._stopping.called):
            self._stopping.callback(None)

    def _kill_all(self) -> None:
        for worker in self._living.values():
            maillog.worker_killed(worker.number)
            worker.kill()

    # Talk

    def _poll(self) -> None:
        for worker in self._living.values():
            worker.unanswered += 1
            if worker.unanswered > LOST:
                maillog.worker_killed(worker.number)
                worker.kill()
        self.ask(Report())

    def _heard(self, worker: WorkerProcess, number: int, content: Mapping[str, Any]) -> None:
        worker.unanswered = 0
        self._watch.said(worker.number, content)
        if number in self._questions:
            self._questions[number].settle(worker.number)

    def _give_up(self, number: int) -> None:
        question = self._questions[number]
        for worker in list(question.waiting):
            question.settle(worker)

    def _over(self, number: int, limit: Any) -> None:
        del self._questions[number]
        if limit.active():
            limit.cancel()


def how(reason: Failure) -> str:
    """How a process ended: "status 1", "signal 9"; or why it did not even begin."""
    ended: Any = reason.value
    if isinstance(ended, OSError):
        return f"not started: {ended.strerror}"
    return f"signal {ended.signal}" if ended.signal else f"status {ended.exitCode}"
