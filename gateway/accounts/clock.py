"""The clock that sign-in waits by, handed in by the wiring: `twisted.internet.task.Clock` in tests."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred


class Timer(Protocol):
    """One pending call."""

    def cancel(self) -> object: ...


class Clock(Protocol):
    """Seconds that only ever grow, and calls after some of them (the part of Twisted's IReactorTime we use)."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> Timer: ...


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """A Deferred that fires after `seconds`; cancelling it cancels the timer."""

    def cancel(_: Deferred[None]) -> None:
        timer.cancel()

    waiting: Deferred[None] = Deferred(cancel)
    timer = clock.callLater(max(0.0, seconds), waiting.callback, None)
    return waiting
