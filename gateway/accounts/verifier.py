"""Slow password hashes in a few threads: who waits, who is turned away, and what an unknown login costs.

Theory of operation. A hash takes 50 to 300 ms of one core, so few run at once and everybody else waits here. Networks take
turns, so that one from which a thousand guesses come at once holds up itself; within a network it goes by who came first.

There are two sets of threads. Those for people, a few for each core at the usual priority: a first sign-in must come through
while bulk mail takes all cores. Those for guessers, one for each core at the lowest priority: they get what is left over.
A network that the account is known from is a person's. Strangers are taken for people too, until most of what was hashed for
strangers lately was wrong (`doubt.py`); from then on what they ask is no longer weighed against anybody else's work. An
account whose password is hashed often (`often.py`), known or not, is a stranger, and each time counts as a wrong answer.

Those who ask the same (account, stored hash, password) share one job, wherever they are: it stands in the lane of each
of their networks, the first turn runs it, and it goes on for the others when one leaves. When the last one has left, a
job that waits is dropped; one that runs cannot be stopped, so its place is free again when its thread is.

Nobody waits for a thread longer than `hash_wait`. A job whose turn in a lane would come later than that, judged by the
moving average of what a hash takes, gets no place in it. Its sign-ins are told Busy like those whose turn did not come
after all, only when `hash_wait` is over: a flood is thereby slowed down instead of invited back.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from twisted.internet.defer import Deferred

from gateway.accounts import schemes
from gateway.accounts.clock import Clock, pause
from gateway.accounts.decoys import Decoys
from gateway.accounts.doubt import Doubt
from gateway.accounts.hash_threads import HashThreads
from gateway.accounts.often import Often
from gateway.accounts.ports import Busy
from gateway.accounts.turns import TwoRounds
from gateway.metrics import Metrics

_KINDS = 32  # scheme and cost together, whose time is kept
_WEIGHT = 0.1  # of the newest hash in their slow times
_LONGEST = 30.0  # seconds a hash is said to take at most: the machine may have slept meanwhile, or its thread starved


@dataclass(frozen=True, slots=True)
class _Question:
    """What is the same for all who share a job."""

    subject: str
    stored: str = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(eq=False, slots=True)
class _Job:
    """One hash, and the networks of those who wait for its answer. `known`: as whose it is counted, and it was `often`."""

    question: _Question
    known: bool
    often: bool
    askers: dict[Deferred[bool], str] = field(default_factory=dict)
    running: bool = False


class Verifier:
    """Implements accounts.ports.Hasher.

    `hash_wait` in seconds; `pepper` counts for plain bcrypt (Devise); at most `places` jobs wait, which bounds memory where
    hashes are so quick that `hash_wait` does not.
    """

    def __init__(
        self,
        people: HashThreads,
        guessers: HashThreads,
        metrics: Metrics,
        clock: Clock,
        *,
        hash_wait: float,
        pepper: bytes = b"",
        places: int = 10_000,
    ) -> None:
        self._people = people
        self._guessers = guessers
        self._metrics = metrics
        self._clock = clock
        self.hash_wait = hash_wait
        self._pepper = pepper
        self._places = places
        self._doubt = Doubt()
        self._often = Often()
        self._jobs: dict[_Question, _Job] = {}  # those that wait and those that run
        self._turns: TwoRounds[_Job] = TwoRounds()  # those that wait, but for those that come too late to have a place
        self._slow: dict[str, float] = {}  # by decoy, the same for each kind and cost of hash: its slow times
        self._decoys = Decoys()

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        """Whether `secret` fits; one hash's time either way. Raises Busy, UnknownScheme."""
        if not schemes.usable(stored):
            await self.burn(secret, subject=subject, network=network)
            return False
        self._decoys.learn(stored)
        return await self._ask(_Question(subject, stored, secret), network, known=known)

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        """Spend what a verification of the table's usual kind costs. Raises Busy."""
        await self._ask(_Question(subject, self._decoys.usual(), secret), network)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest kind of hash takes here at worst, of those met lately: a mean would show who exceeds it."""
        return max(self._slow.values(), default=0.0)

    def estimated_wait(self, network: str, *, known: bool = False) -> float:
        """Seconds until a hash that `network` asked for now would start; `known`: the account is known from there."""
        threads = self._threads_for(known)
        ahead = self._turns.ahead(network, known=known, apart=threads is not self._threads_for(not known))
        return threads.wait(ahead)

    def learn(self, sample: Iterable[str]) -> None:
        """Count the scheme and cost of some of the table's stored hashes towards the decoy's, at start."""
        for stored in sample:
            with contextlib.suppress(schemes.UnknownScheme):
                self._decoys.learn(stored)

    async def time_kinds(self) -> None:
        """Hash once for each kind learned, so that `slowest` is right from the first refusal on. Raises Busy."""
        for kind in self._decoys.kinds()[:_KINDS]:
            await self._ask(_Question(kind, kind, b""), "", known=True)

    def _threads_for(self, known: bool) -> HashThreads:
        return self._people if known or not self._doubt.is_much(self._clock.seconds()) else self._guessers

    async def _ask(self, question: _Question, network: str, *, known: bool = False) -> bool:
        job = self._jobs.get(question) or self._new_job(question, known)
        answer: Deferred[bool] = Deferred()
        job.askers[answer] = network
        deadline = pause(self._clock, self.hash_wait)
        deadline.addCallbacks(self._give_up, lambda _: None, (job, answer))
        try:
            if not job.running:
                self._stand_in_line(job, network, known and not job.often)
            return await answer
        finally:
            deadline.cancel()
            self._leave(job, answer, network)

    def _new_job(self, question: _Question, known: bool) -> _Job:
        now = self._clock.seconds()
        often = self._often.note((question.subject, known), now)
        if often:
            self._doubt.note(wrong=True, now=now)  # now, or as many as there are threads would start before it counts
        job = self._jobs[question] = _Job(question, known, often)
        return job

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
            self._often.forgive((job.question.subject, job.known))
        self._fill()

    def _fill(self) -> None:
        """Give the free places to those whose turn it is."""
        while self._start_next():
            pass
        self._metrics.password_hashes_waiting.set(len(self._turns))

    def _start_next(self) -> bool:
        """Whether there was room for one. A job that needs more than there is lets nobody else of its threads past."""
        full: list[HashThreads] = []
        for known in self._turns.order():
            job, threads = self._turns.first(known=known), self._threads_for(known)
            if job is None or threads in full:
                continue
            places = threads.places_of(job.question.stored)
            if threads.have_room(places):
                self._start(self._turns.take(known=known), threads, places, stranger=not known)
                return True
            full.append(threads)
        return False

    def _start(self, job: _Job, threads: HashThreads, places: int, *, stranger: bool) -> None:
        for network in set(job.askers.values()):
            self._turns.discard(network, job)
        job.running = True
        threads.enter(places)
        Deferred.fromCoroutine(self._hash(job, threads, places, stranger=stranger))

    async def _hash(self, job: _Job, threads: HashThreads, places: int, *, stranger: bool) -> None:
        question, began = job.question, self._clock.seconds()
        function = partial(schemes.verify, question.secret, question.stored, pepper=self._pepper)
        outcome: bool | Exception
        try:
            outcome = await threads.run(function, places)
        except Exception as error:  # those who asked raise it
            outcome = error
        now = self._clock.seconds()
        took = min(now - began, _LONGEST)
        threads.leave(places, took)
        self._timed(question.stored, took)
        if stranger and not job.often and isinstance(outcome, bool):
            self._doubt.note(wrong=not outcome, now=now)
        del self._jobs[question]
        self._fill()  # before anybody who hears the answer asks again
        _tell(job.askers, outcome)

    def _timed(self, stored: str, seconds: float) -> None:
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
