"""A bounded number of places, given to those who wait in the order they came.

As DeferredSemaphore, but without its recursion: there a place that is given back at once inside the callback
that gave it goes one level deeper for each waiter, and a hop that goes down with a thousand in line overruns
the stack.
"""

from collections import deque

from twisted.internet.defer import Deferred


class Slots:
    """`free` of `limit` places are taken by nobody."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._waiting: deque[Deferred[None]] = deque()
        self._giving = False

    def take_now(self) -> bool:
        """Take a place if that needs no waiting; whether it is taken."""
        if not self.free or self._waiting:
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

    def _give(self) -> None:
        if self._giving:  # called from a callback below: the loop there goes on with it
            return
        self._giving = True
        try:
            while self.free and self._waiting:
                self.free -= 1
                self._waiting.popleft().callback(None)
        finally:
            self._giving = False
