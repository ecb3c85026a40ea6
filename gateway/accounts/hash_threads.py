"""Threads that hash at one priority: how many places they have, how many a hash takes, and how long it lasts there."""

import contextlib
import os
from collections.abc import Callable
from threading import get_native_id
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from gateway.accounts import schemes

T = TypeVar("T")

_FIRST_GUESS = 0.25  # seconds a hash takes, until one has been timed: bcrypt of cost 12
_WEIGHT = 0.1  # of the newest hash in the moving average


class Run(Protocol):
    """Calls a function that takes so many of the places in one of the threads, when other processes leave room for it."""

    def __call__(self, function: Callable[[], T], places: int, /) -> Deferred[T]: ...


class HashThreads:
    """`run` has as many threads as there are `places`; a heavy hash (`schemes.heavy`) takes `for_heavy` of those."""

    def __init__(self, run: Run, *, places: int, for_heavy: int = 1) -> None:
        self.run = run
        self._places = places
        self._for_heavy = for_heavy
        self._free = places
        self._average = _FIRST_GUESS

    def places_of(self, stored: str) -> int:
        """Raises UnknownScheme."""
        return self._for_heavy if schemes.heavy(stored) else 1

    def have_room(self, places: int) -> bool:
        return self._free >= places

    def enter(self, places: int) -> None:
        self._free -= places

    def leave(self, places: int, seconds: float) -> None:
        """A hash that took `places` has ended after `seconds`."""
        self._free += places
        self._average += _WEIGHT * (seconds * places - self._average)

    def wait(self, ahead: int) -> float:
        """Seconds until one starts that has so many `ahead`, going by what hashes took lately."""
        if self._free and not ahead:
            return 0.0
        return self._average * (ahead + 1) / self._places


def lowest_priority() -> None:
    """Make the calling thread give way to all others (nice 19): Linux has a priority for each thread.

    It cannot be taken back without a privilege, so a thread that has called it is such a one for good.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), 19)
