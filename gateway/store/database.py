"""The store's connections: one writer thread that commits in groups, and a few threads that read.

Theory of operation. A 250 costs an fsync, and an fsync takes as long for one message as for a hundred. So whoever writes
hands in a function, and the writer thread runs all functions that wait in one transaction. Those who want the same are served
together, so that a statement writes for all of them: each statement hands Python's lock to the busy thread of the reactor
and has to get it back. When something fails, the transaction is rolled back and run again, this time each
item alone and in a savepoint of its own, so that one that fails is rolled back alone. After the COMMIT all their Deferreds
fire in one hop to the reactor's thread.
While a group is on its way to the disk the next one gathers, and it starts at the end of a turn of the reactor, so that all
that happens in one turn is in one group. No lock is needed: the reactor's thread appends to a deque, the one writer thread
takes from it, and both are atomic in CPython; whether the writer runs is known to the reactor's thread alone.

When a commit fails, its result is unknown (the disk may have it): all of its group get Unavailable, and the next group
starts on a new connection. What happens before the COMMIT is sent is certain, though: when the server has undone the group to
end a deadlock (on PostgreSQL, where other machines write as well), or the connection was dead already because the server was
restarted, the group is run again before anybody is told.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection, NestedTransaction, RootTransaction
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.engine import lookup_engine, store_engine
from gateway.store.failures import Disconnected, Undone, translated
from gateway.store.patience import STORE_PATIENCE, Patience, Watch
from gateway.store.read_threads import ReadThreads
from gateway.store.shared_read import Read, SharedRead, SharedReads
from gateway.store.wires import Wires

T = TypeVar("T")
W = TypeVar("W")
Together = Callable[[Connection, Sequence[W]], Sequence[T]]  # an answer to each, in their order
K = TypeVar("K")
V = TypeVar("V")

MAX_GROUP = 200  # items in one commit: bounds what the first of them waits for the last
READERS = 4
LOOKERS = 2
SLOW_WRITE = 5.0  # seconds after which a write under way means that the store is not ready
TRIES = 4  # of a group that was certainly not committed


@dataclass(slots=True, eq=False)
class _Item:
    order: str
    together: Together[Any, Any]
    wanted: Any
    result: Deferred[Any]
    since: float
    free: list[None]  # of one, which whoever takes the item has: the writer to write it, or its caller's patience to drop it

    def take(self) -> bool:
        """Whether we have it: one of two threads does (list.pop is atomic)."""
        with suppress(IndexError):
            self.free.pop()
            return True
        return False

    @property
    def place(self) -> tuple[str, str]:
        """In its group: those of one order that may go together stand together."""
        return self.order, self.together.__name__


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class Database:
    """The store at `url`. `clock` measures durations, in seconds, from any zero (monotonic).

    `turn` is entered for each transaction that writes, where processes take turns. Who comes while we wait for ours joins it.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any,  # IReactorFromThreads, IReactorTime
        metrics: Metrics,
        clock: Callable[[], float],
        turn: AbstractContextManager[None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock_of_reactor: Callable[[], float] = reactor.seconds
        self._turn = turn or nullcontext()
        self._metrics = metrics
        self.clock = clock
        self._write_engine = store_engine(url, write=True)
        threads = partial(ReadThreads, reactor=reactor, clock=clock, failed=metrics.store_errors_total.inc)
        self._readers = threads(store_engine(url, write=False), name="store-reader", threads=READERS)
        self._lookers = threads(lookup_engine(url, LOOKERS), name="store-look", threads=LOOKERS)
        self._looks = SharedReads(self._lookers, reactor, most=LOOKERS)
        self._writer = ThreadPool(1, 1, "store-writer")
        self._waiting: deque[_Item] = deque()
        self._connection: Connection | None = None  # the writer thread's own
        self._writing = False
        self._stopped = False
        self._idle: list[Deferred[None]] = []
        self._wires = Wires(self._write_engine)
        self._group: list[_Item] = []  # being written
        self._began = 0.0  # when the writer was last woken
        self._closing = self._given_up = False
        self._patience = Patience(reactor, STORE_PATIENCE)
        self._watch = Watch(reactor, self._give_up_on_those_that_hang)

    def start(self) -> None:
        self._writer.start()
        self._readers.start()
        self._lookers.start()

    def write(self, function: Callable[[Connection], T], *, order: str = "") -> Deferred[T]:
        """Run `function` in the writer thread and commit it; the result comes once it is on disk.

        It may be run more than once, each time on a transaction without traces of the time before. Of a group, those with a
        lower `order` run first: where machines share the store, what locks a row that others want gives an order that is the
        same everywhere, or two groups would often wait for each other.

        Fails with Unavailable (nothing done, or the commit's result is unknown), StorageFull, or what `function` raised.
        """
        return self.write_together(_each, function, order=order)

    def write_together(self, together: Together[W, T], wanted: W, *, order: str = "") -> Deferred[T]:
        """As `write`, but `together` is given what all who want the same of it and have the same place in a group want.

        It answers each as if each had come alone, one after the other. When it raises, it is run again for each alone; so its
        name, by which it is known, stands for one function.
        """
        if self._closing:
            return fail(Unavailable("the store is closing"))
        item = _Item(order, together, wanted, Deferred(), self._clock_of_reactor(), [None])
        self._waiting.append(item)
        self._watch.begin()
        if not self._writing:
            self._wake()
        return item.result

    def read(self, function: Callable[[Connection], T]) -> Deferred[T]:
        """Run `function` on a snapshot, in a reader thread. Fails with Unavailable or what `function` raised."""
        if self._closing:
            return fail(Unavailable("the store is closing"))
        result = self._readers.in_thread(lambda: self._readers.on_connection(partial(_snapshot, function)))
        self._patience.begin(result)
        return result.addBoth(self._in_time, result)

    def shared(self, read: Read[K, V]) -> SharedRead[K, V]:
        """What many ask one by one, answered together. `read` is quick; each of its statements sees what is committed then."""
        return self._looks.of(read)

    def stop(self) -> Deferred[None]:
        """Commit what waits, join the threads, close the file. Later calls fail with Unavailable."""
        if self._stopped or not self._writer.started:
            self._stopped = self._closing = True
            return succeed(None)
        self._stopped = self._closing = True
        drained: Deferred[None] = succeed(None)
        if self._writing:
            drained = Deferred()
            self._idle.append(drained)
        drained.addCallback(lambda _: deferToThreadPool(self._reactor, self._writer, self._close))
        return drained.addBoth(lambda _: self._join())

    def _join(self) -> None:
        self._writer.stop()
        self._readers.stop()
        self._lookers.stop()
        self._write_engine.dispose()

    # A server that hangs

    def hangs(self, seconds: float) -> bool:
        """Whether a write or a read has been under way for longer than that."""
        late = self._writing and self._began < self._clock_of_reactor() - seconds
        return late or self._readers.hangs(seconds) or self._lookers.hangs(seconds)

    def check_writes(self) -> None:
        """Raises Unavailable while a write takes so long that new ones had better not come."""
        if self._writing and self._began < self._clock_of_reactor() - SLOW_WRITE:
            raise Unavailable(f"store: a write has been under way for more than {SLOW_WRITE:.0f} seconds")

    def cut(self) -> None:
        """Give up on a server that hangs, for we stop: what is under way fails, and what comes later fails at once."""
        self._closing = self._given_up = True
        self._wires.cut()
        self._readers.cut()
        self._lookers.cut()

    def _in_time(self, answer: Any, result: Deferred[Any]) -> Any:
        in_time = self._patience.end(result)
        if not in_time and isinstance(answer, Failure) and answer.check(CancelledError):
            self._metrics.store_errors_total.inc()
            raise Unavailable(f"store: no answer in {STORE_PATIENCE:.0f} seconds")
        return answer

    def _give_up_on_those_that_hang(self, now: float) -> bool:
        """Whoever has waited for STORE_PATIENCE hears that there is no answer. Whether anything is under way.

        What the writer has not begun is dropped for certain. What it has begun may be committed all the same.
        """
        for item in [item for item in list(self._waiting) if item.since <= now - STORE_PATIENCE]:
            if item.take():
                with suppress(ValueError):
                    self._waiting.remove(item)
                self._tell(item, "store: the writer was busy for {:.0f} seconds; nothing was written")
        for item in self._group:
            if item.since <= now - STORE_PATIENCE and not item.result.called:
                self._tell(item, "store: no answer in {:.0f} seconds; whether it was written is not known")
        return self._writing

    def _tell(self, item: _Item, why: str) -> None:
        self._metrics.store_errors_total.inc()
        item.result.errback(Unavailable(why.format(STORE_PATIENCE)))

    # In the reactor's thread

    def _wake(self) -> None:
        """Let the writer run once this turn of the reactor is over: what else happens in it is one group, not several."""
        self._writing = True
        self._began = self._clock_of_reactor()
        self._reactor.callFromThread(self._writer.callInThread, self._write_group)

    def _settle(self, items: list[_Item], outcomes: list[Any]) -> None:
        self._writing = False
        self._group = []
        if self._waiting:
            self._wake()
        for item, outcome in zip(items, outcomes, strict=True):
            if item.result.called:  # nobody waits any more
                continue
            if isinstance(outcome, _Failed):
                item.result.errback(outcome.error)
            else:
                item.result.callback(outcome)
        if not self._writing:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    # In the writer's thread

    def _write_group(self) -> None:
        with self._turn:
            self._group = items = self._next_group()
            outcomes = self._commit(items) if items else []
        self._reactor.callFromThread(self._settle, items, outcomes)

    def _next_group(self) -> list[_Item]:
        group: list[_Item] = []
        with suppress(IndexError):  # no more
            while len(group) < MAX_GROUP:
                item = self._waiting.popleft()
                if item.take():
                    group.append(item)
        return sorted(group, key=lambda item: item.place)

    def _commit(self, items: list[_Item]) -> list[Any]:
        """What became of each item: its result, or `_Failed`."""
        started = self.clock()
        try:
            return self._insist(items)
        except Exception as error:  # whatever it is, each caller must hear of it and the writer must live
            self._metrics.store_errors_total.inc()
            self._drop_connection()
            # an exception of its own each: one instance raised in many coroutines gathers all their tracebacks
            return [_Failed(_own(error)) for _ in items]
        finally:
            self._metrics.store_commit_seconds.observe(self.clock() - started)
            self._metrics.store_commit_items.observe(len(items))

    def _insist(self, items: list[_Item]) -> list[Any]:
        for _ in range(TRIES - 1):
            with suppress(Undone):
                return self._transaction(items)
            self._drop_connection()
            if self._given_up:
                break
        return self._transaction(items)

    def _transaction(self, items: list[_Item]) -> list[Any]:
        """Raises Undone when it is certain that nothing was committed, and that another try makes sense."""
        with translated():
            try:
                transaction, outcomes = self._run(items)
            except Disconnected as error:
                raise Undone(*error.args) from None
            transaction.commit()
            return outcomes

    def _run(self, items: list[_Item]) -> tuple[RootTransaction, list[Any]]:
        """The transaction to be committed, and what became of each item in it."""
        with translated():
            transaction = self._begin()
            try:
                return transaction, _served(transaction.connection, items)
            except (Undone, Disconnected):
                raise
            except Exception:
                transaction.rollback()
            transaction = self._begin()
            return transaction, [self._alone(transaction.connection, item) for item in items]

    def _begin(self) -> RootTransaction:
        if self._connection is None:
            self._connection = self._write_engine.connect()
        return self._connection.begin()

    def _alone(self, connection: Connection, item: _Item) -> Any:
        savepoint = connection.begin_nested()
        try:
            [result] = _served(connection, [item])
            savepoint.commit()
            return result
        except (Undone, Disconnected):
            raise
        except Exception as error:
            if isinstance(error, Unavailable):
                self._metrics.store_errors_total.inc()
            self._roll_back(savepoint, error)
            return _Failed(error)

    def _roll_back(self, savepoint: NestedTransaction, error: Exception) -> None:
        """Undo one item. Raises `error` when the database has undone the whole group by itself, as SQLite may
        on a full or broken disk: without its transaction, every further statement would commit alone."""
        try:
            savepoint.rollback()
        except DBAPIError:
            raise error from None

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _close(self) -> None:
        self._drop_connection()
        if self._write_engine.dialect.name == "sqlite":
            with suppress(Unavailable):  # a long log only makes the next start slower
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Move the write-ahead log into the file. Not by a Connection: that one begins a transaction, which forbids it."""
        with translated(), closing(self._write_engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _snapshot(function: Callable[[Connection], T], connection: Connection) -> T:
    with connection.begin():
        return function(connection)


def _each(connection: Connection, functions: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [function(connection) for function in functions]


def _served(connection: Connection, items: Sequence[_Item]) -> list[Any]:
    """The answer to each, those who want the same together. Raises what one of them raised."""
    answers: list[Any] = []
    with translated():
        for together, same in groupby(items, key=lambda item: item.together):
            answers += together(connection, [item.wanted for item in same])
    return answers


def _own(error: Exception) -> Exception:
    return type(error)(*error.args) if isinstance(error, Unavailable) else error
