"""One deadline that is moved often and rarely reached: one timer a connection, re-armed only when it fires early."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

# Seconds until the first look, whatever the deadline: most connections are over by then, or given less time than at first, and
# to move a timer to an earlier time the reactor looks through all that it has.
FIRST_LOOK = 15.0


class Deadline:
    """Calls `expired` once the time set last is over. `clock` is an IReactorTime."""

    def __init__(self, clock: Any, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._at: float | None = None
        self._call: IDelayedCall | None = None

    def within(self, seconds: float) -> None:
        """Expire in `seconds` from now, whatever was set before."""
        self._at = self._clock.seconds() + seconds
        if self._call is None or not self._call.active():
            self._call = self._clock.callLater(min(seconds, FIRST_LOOK), self._look)
        elif self._call.getTime() > self._at:
            self._call.reset(seconds)

    @property
    def running(self) -> bool:
        return self._at is not None

    def clear(self) -> None:
        """No deadline; the timer is let run out."""
        self._at = None

    def stop(self) -> None:
        """Give the timer back; nothing may be set any more."""
        self._at = None
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        if self._at is None:
            return
        left = self._at - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._look)
        else:
            self._at = None
            self._expired()
