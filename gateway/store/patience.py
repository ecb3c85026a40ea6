"""How long callers wait for a database that may hang: one timer for all of them."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

STORE_PATIENCE = 10.0  # seconds that a caller waits for the store
EVERY = 2.0  # seconds between two looks


class Watch:
    """Looks again and again as long as `look` finds work under way: no timer for each call, and none while nothing goes on."""

    def __init__(self, reactor: Any, look: Callable[[float], bool]) -> None:
        self._reactor = reactor
        self._look = look
        self._on = False

    def begin(self) -> None:
        """There is something to look at."""
        if not self._on:
            self._on = True
            self._reactor.callLater(EVERY, self._again)

    def _again(self) -> None:
        self._on = False
        if self._look(self._reactor.seconds()):
            self.begin()


class Patience:
    """Waits of `seconds` each, the longest first; `reactor` provides IReactorTime."""

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._ends: dict[Deferred[Any], float] = {}  # in their order
        self._watching = False

    def begin(self, result: Deferred[Any]) -> None:
        """Cancel `result` when it has not come in time, unless `end` comes first."""
        self._ends[result] = self._reactor.seconds() + self._seconds
        self._watch()

    def end(self, result: Deferred[Any]) -> bool:
        """Whether it came in time. Once for each `begin`."""
        return self._ends.pop(result, None) is not None

    def _watch(self) -> None:
        if self._ends and not self._watching:
            self._watching = True
            left = next(iter(self._ends.values())) - self._reactor.seconds()
            self._reactor.callLater(max(0.0, left), self._look)  # it may be over: those told before it took their time

    def _look(self) -> None:
        now = self._reactor.seconds()
        for result in [result for result, end in self._ends.items() if end <= now]:
            if self.end(result):  # and not before, because of another that was told just now
                result.cancel()
        self._watching = False
        self._watch()
