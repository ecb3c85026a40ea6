"""A reactor for one test: its clock is moved by hand, what threads hand over runs when the test waits for a result."""

import queue
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

T = TypeVar("T")

GIVE_UP = 60.0  # seconds without anything from a thread: the test hangs


@implementer(IReactorFromThreads)
class Pump(Clock):
    """IReactorTime and IReactorFromThreads, without a loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self._calls.put(lambda: callable(*args, **kwargs))

    def result(self, awaitable: Awaitable[T]) -> T:
        """Run what the threads hand over until `awaitable` has its result; raises what it raises."""
        box: list[Any] = []
        deferred(awaitable).addBoth(box.append)
        self._go_on(lambda: bool(box))
        if isinstance(box[0], Failure):
            box[0].raiseException()
        answer: T = box[0]
        return answer

    def failure(self, awaitable: Awaitable[object]) -> BaseException:
        """The exception that `awaitable` ends in."""
        try:
            self.result(awaitable)
        except Exception as error:
            return error
        raise AssertionError("it did not fail")

    def until(self, condition: Callable[[], bool]) -> None:
        """Run what the threads hand over until `condition` holds."""
        self._go_on(condition)

    def _go_on(self, condition: Callable[[], bool]) -> None:
        self.advance(0)  # calls that only wait for the reactor's next turn
        while not condition():
            self._calls.get(timeout=GIVE_UP)()
            self.advance(0)

    def turn(self) -> None:
        """Run what has been handed over by now."""
        over: list[None] = []
        self.callFromThread(over.append, None)
        self.until(lambda: bool(over))


def deferred(awaitable: Awaitable[T]) -> Deferred[T]:
    """Start it, as Twisted would."""
    if isinstance(awaitable, Deferred):
        return awaitable
    return ensureDeferred(awaitable)  # type: ignore[arg-type]
