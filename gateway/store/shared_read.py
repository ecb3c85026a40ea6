"""Reads of the store that callers share: each is for all who wait when it starts.

So a call never gets what was read before it; at low load each goes out at once, and at high load one read serves many.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.errors import Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

READS = 2  # at once, of each kind: the store's reader threads serve the queue too
MAX_KEYS = 100  # in one read


class SharedRead(Generic[K, V]):
    """`read` answers for a set of keys at once, with a value for each of them. For the reactor's thread."""

    def __init__(self, read: Callable[[set[K]], Deferred[dict[K, V]]]) -> None:
        self._read = read
        self._waiting: list[tuple[K, Deferred[V]]] = []
        self._reading = 0

    def ask(self, key: K) -> Deferred[V]:
        """What a read that starts after this call says of `key`. Fails with what `read` fails with."""
        result: Deferred[V] = Deferred()
        self._waiting.append((key, result))
        self._begin()
        return result

    def _begin(self) -> None:
        """Start reads for those who wait, while there may be more."""
        while self._waiting and self._reading < READS:
            batch, self._waiting = self._waiting[:MAX_KEYS], self._waiting[MAX_KEYS:]
            self._reading += 1
            self._read({key for key, _ in batch}).addBoth(self._answer, batch)

    def _answer(self, found: dict[K, V] | Failure, batch: Sequence[tuple[K, Deferred[V]]]) -> None:
        self._reading -= 1
        self._begin()
        for key, result in batch:
            if isinstance(found, Failure):
                error = found.value
                # an exception of its own each: one instance raised in many coroutines gathers all their tracebacks
                result.errback(type(error)(*error.args) if isinstance(error, Unavailable) else found)
            else:
                result.callback(found[key])
