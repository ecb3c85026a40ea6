"""Reads that callers share: each is for all who wait when it starts, whatever they ask.

Theory of operation. A call never gets what was read before it: it joins a round that starts later. There is one round at a
time, in a thread, begun when the reactor is through with all that has come in; who comes meanwhile goes into the next. So at
low load each call goes out at once, and at high load one trip to a thread serves many: it costs more than most queries do,
since the thread and the reactor's take Python's lock from each other whenever a statement is sent. A round that takes SLOW
seconds holds up nobody else: a further one starts beside it.

In a round each kind is read by itself, so what goes wrong with one is not the trouble of the others. A read that fails, but not
for the sake of the database, is made again for each key alone: a value that cannot be asked for fails the call that brought it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.errors import Unavailable
from gateway.store.failures import is_about_the_database, unavailable
from gateway.store.patience import STORE_PATIENCE, Watch
from gateway.store.read_threads import ReadThreads

K = TypeVar("K")
V = TypeVar("V")

MAX_KEYS = 100  # of a kind, in one round
SLOW = 0.05  # seconds

Read = Callable[[Connection, Sequence[K]], dict[K, V]]  # a value for each of the keys


class SharedReads:
    """Rounds, at most `most` at once; `reactor` provides IReactorTime. For the reactor's thread.

    Without `patience`, callers have to see to it themselves that they do not wait for ever.
    """

    def __init__(self, threads: ReadThreads, reactor: Any, *, most: int, patience: bool = True) -> None:
        self._threads = threads
        self._reactor = reactor
        self._most = most
        self._kinds: list[SharedRead[Any, Any]] = []
        self._running = 0
        self._current: list[_Batch[Any, Any]] | None = None  # the round that others wait for
        self._soon = False  # one begins at the end of this turn of the reactor
        self._watching = False
        self._under_way: dict[int, tuple[float, list[_Batch[Any, Any]]]] = {}  # since when, by the id() of the round
        self._seen: dict[Deferred[Any], float] = {}  # who waits for a round to begin, and when that was first seen
        self._patience = Watch(reactor, self._give_up_on_those_that_hang) if patience else None

    def of(self, read: Read[K, V]) -> "SharedRead[K, V]":
        """A kind of thing to ask; `read` answers for many keys at once."""
        kind = SharedRead(read, self._asked)
        self._kinds.append(kind)
        return kind

    def _asked(self) -> None:
        if not self._soon and self._may_begin():
            self._soon = True
            self._reactor.callLater(0, self._begin)  # for all of this turn, and when the reactor is done with them
        self._watch()

    def _may_begin(self) -> bool:
        return self._current is None and self._running < self._most

    def _begin(self) -> None:
        self._soon = False
        batches = [kind.batch() for kind in self._kinds if kind.waiting]
        if batches:
            self._running += 1
            self._current = batches
            self._under_way[id(batches)] = self._reactor.seconds(), batches
            if self._patience is not None:
                self._patience.begin()
            self._threads.in_thread(lambda: [self._read(batch) for batch in batches]).addBoth(self._end, batches)

    def _end(self, answers: "list[dict[Any, Any] | Exception] | Failure", batches: "list[_Batch[Any, Any]]") -> None:
        """Those answered may ask again, and are in the next round then."""
        if isinstance(answers, Failure):  # there are no threads any more
            answers = [Unavailable(answers.getErrorMessage())] * len(batches)
        try:
            for batch, found in zip(batches, answers, strict=True):
                batch.give(found)
        finally:
            self._running -= 1
            del self._under_way[id(batches)]
            if self._current is batches:
                self._current = None
            self._asked()

    def _read(self, batch: "_Batch[K, V]") -> "dict[K, V | _Failed] | Exception":
        """In a thread."""
        try:
            return self._threads.on_connection(batch.read)
        except Exception as error:  # those who asked raise it
            return error

    def _give_up_on_those_that_hang(self, now: float) -> bool:
        """Whoever has waited for STORE_PATIENCE hears that there is no answer. Whether anything is under way."""
        hangs = Unavailable(f"no answer in {STORE_PATIENCE:.0f} seconds")
        for began, batches in list(self._under_way.values()):
            if began <= now - STORE_PATIENCE:
                for batch in batches:
                    batch.give(hangs)
        waiting = [result for kind in self._kinds for result in kind.waiting]
        self._seen = {result: self._seen.get(result, now) for result in waiting}
        for result, seen in self._seen.items():
            if seen <= now - STORE_PATIENCE and not result.called:
                for kind in self._kinds:
                    kind.waiting.pop(result, None)
                result.errback(Unavailable(*hangs.args))
        return bool(self._under_way)

    def _watch(self) -> None:
        """While somebody waits for a round to end, see whether it is a slow one."""
        if not self._watching and self._current is not None and any(kind.waiting for kind in self._kinds):
            self._watching = True
            self._reactor.callLater(SLOW, self._look, self._current)

    def _look(self, then: "list[_Batch[Any, Any]]") -> None:
        self._watching = False
        if self._current is then:
            self._current = None
        self._asked()


class SharedRead(Generic[K, V]):
    """One kind of thing to ask."""

    def __init__(self, read: Read[K, V], asked: Callable[[], None]) -> None:
        self._read = read
        self._asked = asked
        self.waiting: dict[Deferred[V], K] = {}  # in the order of arrival

    def ask(self, key: K) -> Deferred[V]:
        """What a read that starts after this call says of `key`. Fails with what the read raises.

        Who cancels it waits no more: a database that hangs gathers nobody.
        """
        result: Deferred[V] = Deferred(self._drop)
        self.waiting[result] = key
        self._asked()
        return result

    def batch(self) -> "_Batch[K, V]":
        """Those who have waited longest, taken out."""
        batch = dict(islice(self.waiting.items(), MAX_KEYS))
        for result in batch:
            del self.waiting[result]
        return _Batch(self._read, batch)

    def _drop(self, result: Deferred[V]) -> None:
        self.waiting.pop(result, None)


class _Batch(Generic[K, V]):
    """Those of one kind in one round."""

    def __init__(self, read: Read[K, V], askers: dict[Deferred[V], K]) -> None:
        self._read = read
        self._askers = askers

    def read(self, connection: Connection) -> "dict[K, V | _Failed]":
        keys = list(dict.fromkeys(self._askers.values()))
        try:
            return dict(self._read(connection, keys))
        except Exception as error:
            if len(keys) == 1 or is_about_the_database(error):
                raise
            _make_ready(connection, error)
        return {key: self._alone(connection, key) for key in keys}

    def _alone(self, connection: Connection, key: K) -> "V | _Failed":
        try:
            return self._read(connection, [key])[key]
        except Exception as error:
            if is_about_the_database(error):
                raise
            _make_ready(connection, error)
            return _Failed(unavailable(error) if isinstance(error, DBAPIError | UnicodeError) else error)

    def give(self, found: "dict[K, V | _Failed] | Exception") -> None:
        for result, key in self._askers.items():
            if result.called:  # cancelled
                continue
            answer = _Failed(found) if isinstance(found, Exception) else found.get(key, _NO_ANSWER)
            if isinstance(answer, _Failed):
                result.errback(answer.own())
            else:
                result.callback(answer)


def _make_ready(connection: Connection, error: Exception) -> None:
    if isinstance(error, UnicodeError):  # the driver may have stopped in the middle of an answer: another connection
        connection.invalidate()
        connection.rollback()


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception

    def own(self) -> Exception:
        """An exception for one caller: one instance raised in many coroutines gathers all their tracebacks."""
        return type(self.error)(*self.error.args) if isinstance(self.error, Unavailable) else self.error


_NO_ANSWER = _Failed(KeyError("a read without an answer"))
