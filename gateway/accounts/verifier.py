"""Slow password hashes in a few threads: who waits, who is turned away, and what an unknown login costs.

Theory of operation. A hash takes 50 to 300 ms of one core, so there are as many threads as cores, at the lowest
priority, and everybody else waits here. Networks take turns, so that one from which a thousand guesses come at once
holds up itself; within a network it goes by who came first.

Those who ask the same (account, stored hash, password) share one job, wherever they are: it stands in the lane of each
of their networks, the first turn runs it, and it goes on for the others when one leaves. When the last one has left, a
job that waits is dropped; one that runs cannot be stopped, so its place is free again when its thread is.

Nobody waits for a thread longer than `hash_wait`. A job whose turn in a lane would come later than that, judged by the
moving average of what a hash takes, gets no place in it. Its sign-ins are told Busy like those whose turn did not come
after all, only when `hash_wait` is over: a flood is thereby slowed down instead of invited back.

For a login that does not exist the password is checked against a decoy of the scheme and cost that most of the
table's rows have. Rows are counted once each however often they sign in, so that nobody moves the decoy's cost by
trying the one old account they know.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from threading import get_native_id
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from gateway.accounts import schemes
from gateway.accounts.clock import Clock, pause
from gateway.accounts.ports import Busy
from gateway.accounts.turns import TwoRounds
from gateway.metrics import Metrics

T = TypeVar("T")

DEFAULT_DECOY = "$2b$12$" + "." * 53  # until a row has been seen: bcrypt, cost 12
_KINDS = 32  # scheme and cost together, whose time is kept
_REMEMBERED = 256  # rows whose scheme and cost are counted
_FIRST_GUESS = 0.25  # seconds a hash takes, until one has been timed: bcrypt of cost 12
_WEIGHT = 0.1  # of the newest hash in the moving average


class Run(Protocol):
    """Calls a function in one of the hash threads."""

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]: ...


def lowest_priority() -> None:
    """Make the calling thread give way to all others (nice 19): Linux has a priority for each thread.

    Call it first in every hash thread, so that hashing never takes the core the reactor needs.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), 19)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is the same for all who share a job."""

    subject: str
    stored: str = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(eq=False, slots=True)
class _Job:
    """One hash, and the networks of those who wait for its answer."""

    question: _Question
    askers: dict[Deferred[bool], str] = field(default_factory=dict)
    running: bool = False


class Verifier:
    """Implements accounts.ports.Hasher.

    `run` has `threads` threads of its own; `hash_wait` in seconds; `pepper` counts for plain bcrypt (Devise); at most
    `places` jobs wait, which bounds memory where hashes are so quick that `hash_wait` does not.
    """

    def __init__(
        self,
        run: Run,
        metrics: Metrics,
        clock: Clock,
        *,
        threads: int,
        hash_wait: float,
        pepper: bytes = b"",
        places: int = 10_000,
    ) -> None:
        self._run = run
        self._metrics = metrics
        self._clock = clock
        self._threads = threads
        self.hash_wait = hash_wait
        self._pepper = pepper
        self._places = places
        self._free = threads
        self._jobs: dict[_Question, _Job] = {}  # those that wait and those that run
        self._turns: TwoRounds[_Job] = TwoRounds()  # those that wait, but for those that come too late to have a place
        self._average = _FIRST_GUESS
        self._slow: dict[str, float] = {}  # by decoy, the same for each kind and cost of hash: its slow times
        self._decoys: dict[int, str] = {}  # by Python's hash() of the stored one: no copy of it is kept

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        """Whether `secret` fits; one hash's time either way. Raises Busy, UnknownScheme."""
        if not schemes.usable(stored):
            await self.burn(secret, subject=subject, network=network)
            return False
        self._learn(stored)
        return await self._ask(_Question(subject, stored, secret), network, known=known)

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        """Spend what a verification of the table's usual kind costs. Raises Busy."""
        await self._ask(_Question(subject, self._usual_decoy(), secret), network)

    @property
    def average(self) -> float:
        """Seconds a hash takes here, as a moving average."""
        return self._average

    @property
    def slowest(self) -> float:
        """Seconds that the slowest kind of hash takes here at worst, of those met lately: a mean would show who exceeds it."""
        return max(self._slow.values(), default=0.0)

    def estimated_wait(self, network: str, *, known: bool = False) -> float:
        """Seconds until a hash that `network` asked for now would start; `known`: the account is known from there."""
        if self._free:
            return 0.0
        return self._average * (self._turns.ahead(network, known=known) + 1) / self._threads

    def learn(self, sample: Iterable[str]) -> None:
        """Count the scheme and cost of some of the table's stored hashes towards the decoy's, at start."""
        for stored in sample:
            with contextlib.suppress(schemes.UnknownScheme):
                self._learn(stored)

    async def time_kinds(self) -> None:
        """Hash once for each kind learned, so that `slowest` is right from the first refusal on. Raises Busy."""
        for kind in list(dict.fromkeys(self._decoys.values()))[:_KINDS]:
            await self._ask(_Question("", kind, b""), "")

    def _learn(self, stored: str) -> None:
        key = hash(stored)
        self._decoys.pop(key, None)
        self._decoys[key] = schemes.decoy(stored)
        if len(self._decoys) > _REMEMBERED:
            del self._decoys[next(iter(self._decoys))]

    def _usual_decoy(self) -> str:
        usual = Counter(self._decoys.values()).most_common(1)
        return usual[0][0] if usual else DEFAULT_DECOY

    async def _ask(self, question: _Question, network: str, *, known: bool = False) -> bool:
        job = self._jobs.setdefault(question, _Job(question))
        answer: Deferred[bool] = Deferred()
        job.askers[answer] = network
        deadline = pause(self._clock, self.hash_wait)
        deadline.addCallbacks(self._give_up, lambda _: None, (job, answer))
        try:
            if not job.running:
                self._stand_in_line(job, network, known)
            return await answer
        finally:
            deadline.cancel()
            self._leave(job, answer, network)

    def _stand_in_line(self, job: _Job, network: str, known: bool) -> None:
        if self.estimated_wait(network, known=known) <= self.hash_wait and len(self._turns) < self._places:
            self._turns.add(network, job, known=known)
        self._fill()

    def _give_up(self, _: None, job: _Job, answer: Deferred[bool]) -> None:
        if not job.running:
            answer.errback(Busy("too many password hashes wait"))

    def _leave(self, job: _Job, answer: Deferred[bool], network: str) -> None:
        job.askers.pop(answer, None)
        if job.running:
            return
        if network not in job.askers.values():
            self._turns.discard(network, job)
        if not job.askers:
            del self._jobs[job.question]
        self._fill()

    def _fill(self) -> None:
        """Give the free threads to those whose turn it is."""
        while self._free and self._turns:
            self._start(self._turns.take())
        self._metrics.password_hashes_waiting.set(len(self._turns))

    def _start(self, job: _Job) -> None:
        for network in set(job.askers.values()):
            self._turns.discard(network, job)
        job.running = True
        self._free -= 1
        Deferred.fromCoroutine(self._hash(job))

    async def _hash(self, job: _Job) -> None:
        question, began = job.question, self._clock.seconds()
        outcome: bool | Exception
        try:
            outcome = await self._run(partial(schemes.verify, question.secret, question.stored, pepper=self._pepper))
        except Exception as error:  # those who asked raise it
            outcome = error
        self._timed(question.stored, self._clock.seconds() - began)
        self._free += 1
        del self._jobs[question]
        self._fill()  # before anybody who hears the answer asks again
        _tell(job.askers, outcome)

    def _timed(self, stored: str, seconds: float) -> None:
        self._average += _WEIGHT * (seconds - self._average)
        with contextlib.suppress(schemes.UnknownScheme):
            kind = schemes.decoy(stored)
            if kind in self._slow or len(self._slow) < _KINDS:
                before = self._slow.setdefault(kind, seconds)
                self._slow[kind] = max(seconds, before + _WEIGHT * (seconds - before))
        self._metrics.password_hash_seconds.labels(schemes.scheme(stored)).observe(seconds)


def _tell(askers: dict[Deferred[bool], str], outcome: bool | Exception) -> None:
    """Give all of them the answer; one who hears it may make another leave."""
    while askers:
        answer = next(iter(askers))
        del askers[answer]
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)
