"""Threads that run queries on an engine in AUTOCOMMIT, where each statement sees what is committed when it starts.

A connection that died since its last use (the server was restarted) is replaced within the call.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, exc
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from gateway.errors import Unavailable
from gateway.store.failures import translated
from gateway.store.wires import Wires

T = TypeVar("T")

PROMPT = 1.0  # seconds: what fails later than this gets no second try


class ReadThreads:
    """As many threads, named `name`, as `engine` has connections. `clock` gives seconds for durations, from any zero.

    `failed` is called for each error, and `took` with each call's seconds, both in the thread; `about` stands before an error.
    """

    def __init__(
        self,
        engine: Engine,
        reactor: Any,
        clock: Callable[[], float],
        *,
        name: str,
        threads: int,
        failed: Callable[[], object],
        took: Callable[[float], object] = lambda seconds: None,
        about: str = "",
    ) -> None:
        self._engine = engine
        self._reactor = reactor
        self._clock = clock
        self._threads = ThreadPool(threads, threads, name)  # all from the start: later there may be none to have
        self._failed = failed
        self._took = took
        self._about = about
        self._wires = Wires(engine)
        self._since: dict[object, float] = {}  # when each call under way began

    def hangs(self, seconds: float) -> bool:
        """Whether a call has been under way for longer than that."""
        return any(began < self._clock() - seconds for began in list(self._since.values()))

    def cut(self) -> None:
        """End the connections, in the middle of anything: what is under way fails."""
        self._wires.cut()

    def start(self) -> None:
        self._threads.start()

    def stop(self) -> None:
        """End the queries that run, for nobody waits for them any more, and close the connections."""
        if self._threads.started:
            if self._since:
                self.cut()
            self._threads.stop()
        self._engine.dispose()

    def in_thread(self, function: Callable[[], T]) -> Deferred[T]:
        """Call `function` in a thread. Fails with what it raises, and with Unavailable after `stop`."""
        if self._threads.joined:
            return fail(Unavailable(f"{self._about}closing"))
        return deferToThreadPool(self._reactor, self._threads, function)

    def on_connection(self, function: Callable[[Connection], T]) -> T:
        """In such a thread: call `function` with a connection, perhaps twice. Raises Unavailable, what `function` raises."""
        started, call = self._clock(), object()
        self._since[call] = started
        try:
            with translated():
                return self._insist(function, started)
        except Unavailable as error:
            self._failed()
            raise type(error)(f"{self._about}{error}") from None
        finally:
            del self._since[call]
            self._took(self._clock() - started)

    def _insist(self, function: Callable[[Connection], T], started: float) -> T:
        try:
            with self._engine.connect() as connection:
                return function(connection)
        except exc.DBAPIError as error:
            if not error.connection_invalidated or self._clock() - started > PROMPT:
                raise
        with self._engine.connect() as connection:
            return function(connection)
