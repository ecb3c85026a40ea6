"""The threads that hash passwords, wired: how many, at which priority, on which cores, and bounded with other workers'."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from gateway.accounts.hash_threads import HashThreads, lowest_priority
from gateway.cores import run_on, usable_cores
from gateway.hash_slots import HashSlots
from gateway.share import Share

T = TypeVar("T")

A_CORE = 3  # hashes for people, of all workers: with one, bulk mail on all cores would leave them a third of the time


class Hashing:
    """To be made while this process may still run on all the cores that the gateway has."""

    def __init__(self, state_dir: Path, reactor: Any, share: Share) -> None:
        cores = len(usable_cores())
        threads = min(cores, share.part(cores) + 1)  # one more than its part: connections are not spread evenly
        bound = cores if share.of > 1 else 0
        light = HashSlots(state_dir, "hash-slot", A_CORE * bound, time.sleep)
        heavy = HashSlots(state_dir, "heavy-slot", bound, time.sleep)  # three light ones are hardly ever free at once
        guess = HashSlots(state_dir, "guess-slot", bound, time.sleep)
        self._for_people = _Pool("hashing", reactor, A_CORE * threads, {1: light, A_CORE: heavy})
        self._for_guessers = _Pool("guesses", reactor, threads, {1: guess}, gently=True)
        self.people = HashThreads(self._for_people.run, places=A_CORE * threads, for_heavy=A_CORE)
        self.guessers = HashThreads(self._for_guessers.run, places=threads)

    def start(self) -> None:
        self._for_people.start()
        self._for_guessers.start()

    def stop(self) -> None:
        """Wait for the hashes that run."""
        self._for_people.stop()
        self._for_guessers.stop()


class _Pool:
    """`slots` by how many places a hash takes in this process; `gently`: at the lowest priority."""

    def __init__(self, name: str, reactor: Any, count: int, slots: Mapping[int, HashSlots], *, gently: bool = False) -> None:
        self._reactor = reactor
        self._slots = slots
        self._gently = gently
        self._cores = usable_cores()  # before a worker keeps to one of them
        self._threads = ThreadPool(count, count, name)  # all from the start: later there may be none to have
        self.start = self._threads.start
        self.stop = self._threads.stop

    def run(self, function: Callable[[], T], places: int) -> Deferred[T]:
        def in_thread() -> T:
            if self._gently:
                lowest_priority()
            run_on(self._cores)
            with self._slots[places].one():
                return function()

        return deferToThreadPool(self._reactor, self._threads, in_thread)
