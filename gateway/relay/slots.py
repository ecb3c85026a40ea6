"""A bounded number of places, given to those who wait in the order they came.

As DeferredSemaphore, but without its recursion: there a place that is given back at once inside the callback
that gave it goes one level deeper for each waiter, and a hop that goes down with a thousand in line overruns
the stack.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred


class Slots:
    """`free` of `limit` places are not taken; less than 0 after `widen` took back some that were."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._waiting: deque[Deferred[None]] = deque()
        self._giving = False

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._waiting)

    def take_now(self) -> bool:
        """Take a place if that needs no waiting; whether it is taken."""
        if self.free <= 0 or self._waiting:
            return False
        self.free -= 1
        return True

    def take(self) -> Deferred[None]:
        """Fires when the caller has a place; cancelling it leaves the line."""
        place: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(place)
        self._give()
        return place

    def give_back(self) -> None:
        self.free += 1
        self._give()

    def widen(self, by: int) -> None:
        """Add places, or take some away: those that are taken are gone when they are given back."""
        self.limit += by
        self.free += by
        self._give()

    def turn_away(self, error: Callable[[], Exception]) -> None:
        """Fail all who are in line now, each with an error of its own."""
        for _ in range(len(self._waiting)):
            if self._waiting:  # one that was turned away may have cancelled another
                self._waiting.popleft().errback(error())

    def _give(self) -> None:
        if self._giving:  # called from a callback below: the loop there goes on with it
            return
        self._giving = True
        try:
            while self.free > 0 and self._waiting:
                self.free -= 1
                self._waiting.popleft().callback(None)
        finally:
            self._giving = False
