"""Places of threads, the wait for one, and the priority of a thread."""

import os
import threading

import pytest

from gateway.accounts import schemes
from gateway.accounts.hash_threads import HashThreads, lowest_priority
from tests.unit.accounts.test_verifier import HEAVY, STORED


def nothing(*_: object) -> None:
    raise AssertionError


def of(places: int, for_heavy: int = 1) -> HashThreads:
    return HashThreads(nothing, places=places, for_heavy=for_heavy)  # type: ignore[arg-type]


def test_a_heavy_hash_takes_as_many_places_as_are_said() -> None:
    threads = of(3, for_heavy=3)
    assert (threads.places_of(STORED), threads.places_of(HEAVY)) == (1, 3)
    with pytest.raises(schemes.UnknownScheme):
        threads.places_of("md5:x")


def test_places_are_taken_and_given_back() -> None:
    threads = of(4)
    threads.enter(3)
    assert threads.have_room(1)
    assert not threads.have_room(2)
    threads.leave(3, 0.1)
    assert threads.have_room(4)


def test_nobody_waits_while_there_is_room() -> None:
    threads = of(2)
    threads.enter(1)
    assert threads.wait(0) == 0.0
    assert threads.wait(1) > 0.0
    threads.enter(1)
    assert threads.wait(0) > 0.0


def test_the_wait_follows_what_hashes_take_and_how_many_places_they_do() -> None:
    threads = of(6)
    for _ in range(100):
        threads.enter(3)
        threads.leave(3, 0.2)
    threads.enter(6)
    assert threads.wait(3) == pytest.approx(0.2 * 4 / 2, abs=0.01)


def test_lowest_priority_is_of_the_thread_alone() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: list[int] = []

    def body() -> None:
        lowest_priority()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
