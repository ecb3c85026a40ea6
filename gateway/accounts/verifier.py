"""Slow password hashes in a few threads: who waits, who is turned away, and what an unknown login costs.

Theory of operation. A hash takes 50 to 300 ms of one core, so there are as many threads as cores, at the lowest
priority, and everybody else waits here, in the order they came. A sign-in that would wait longer than `hash_wait`,
judged by the moving average of what a hash takes, is turned away at once but told so only when `hash_wait` is over:
a flood is thereby slowed down instead of invited back. A client that leaves while it waits gives its turn back; a
hash that runs cannot be stopped, so its place is given back only when its thread is free again.

For a login that does not exist the password is checked against a decoy of the scheme and cost that most of the
table's rows have. Rows are counted once each however often they sign in, so that nobody moves the decoy's cost by
trying the one old account they know.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_native_id
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore

from gateway.accounts import schemes
from gateway.accounts.clock import Clock, pause
from gateway.accounts.ports import Busy
from gateway.metrics import Metrics

T = TypeVar("T")

DEFAULT_DECOY = "$2b$12$" + "." * 53  # until a row has been seen: bcrypt, cost 12
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


class Verifier:
    """Implements accounts.ports.Hasher.

    `run` has `threads` threads of its own; `hash_wait` in seconds; `pepper` counts for plain bcrypt (Devise).
    """

    def __init__(
        self, run: Run, metrics: Metrics, clock: Clock, *, threads: int, hash_wait: float, pepper: bytes = b""
    ) -> None:
        self._run = run
        self._metrics = metrics
        self._clock = clock
        self._threads = threads
        self.hash_wait = hash_wait
        self._pepper = pepper
        self._places = DeferredSemaphore(threads)
        self._average = _FIRST_GUESS
        self._decoys: dict[int, str] = {}  # by Python's hash() of the stored one: no copy of it is kept

    async def verify(self, secret: bytes, stored: str) -> bool:
        """Whether `secret` fits; one hash's time either way. Raises Busy, UnknownScheme."""
        if not schemes.usable(stored):
            await self.burn(secret)
            return False
        self._learn(stored)
        return await self._hash(secret, stored)

    async def burn(self, secret: bytes) -> None:
        """Spend what a verification of the table's usual kind costs. Raises Busy."""
        await self._hash(secret, self._usual_decoy())

    def learn(self, sample: Iterable[str]) -> None:
        """Count the scheme and cost of some of the table's stored hashes towards the decoy's, at start."""
        for stored in sample:
            with contextlib.suppress(schemes.UnknownScheme):
                self._learn(stored)

    def _learn(self, stored: str) -> None:
        key = hash(stored)
        self._decoys.pop(key, None)
        self._decoys[key] = schemes.decoy(stored)
        if len(self._decoys) > _REMEMBERED:
            del self._decoys[next(iter(self._decoys))]

    def _usual_decoy(self) -> str:
        usual = Counter(self._decoys.values()).most_common(1)
        return usual[0][0] if usual else DEFAULT_DECOY

    @property
    def estimated_wait(self) -> float:
        """Seconds until a hash that came now would start."""
        if self._places.tokens:
            return 0.0
        return self._average * (len(self._places.waiting) + 1) / self._threads

    async def _hash(self, secret: bytes, stored: str) -> bool:
        if self.estimated_wait > self.hash_wait:
            await pause(self._clock, self.hash_wait)
            raise Busy("the queue of password hashes is full")
        with self._metrics.password_hashes_waiting.track_inprogress():
            await self._places.acquire()
        return await self._in_thread(secret, stored)

    def _in_thread(self, secret: bytes, stored: str) -> Deferred[bool]:
        """Hash in a place already taken. The Deferred may be cancelled; the place is free when the thread is."""
        answer: Deferred[bool] = Deferred()
        began = self._clock.seconds()
        running = self._run(partial(schemes.verify, secret, stored, pepper=self._pepper))
        running.addBoth(self._finished, schemes.scheme(stored), began)
        running.chainDeferred(answer)
        return answer

    def _finished(self, result: T, scheme: schemes.Name, began: float) -> T:
        took = self._clock.seconds() - began
        self._average += _WEIGHT * (took - self._average)
        self._metrics.password_hash_seconds.labels(scheme).observe(took)
        self._places.release()
        return result
