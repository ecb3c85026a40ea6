"""The hash threads as they are wired: priorities, cores, and what workers share."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.accounts.hash_threads import HashThreads
from gateway.cores import usable_cores
from gateway.hashing import A_CORE, Hashing
from gateway.share import Share
from tests.pump import GIVE_UP, Pump
from tests.unit.accounts.test_verifier import HEAVY


@contextmanager
def hashing(folder: Path, pump: Pump, share: Share) -> Iterator[Hashing]:
    parts = Hashing(folder, pump, share)
    parts.start()
    try:
        yield parts
    finally:
        parts.stop()


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_only_those_for_guessers_give_way(tmp_path: Path) -> None:
    pump = Pump()
    with hashing(tmp_path, pump, Share()) as parts:
        assert pump.result(parts.guessers.run(priority, 1)) == 19
        assert pump.result(parts.people.run(priority, 1)) == priority()


def test_they_run_on_all_cores_though_the_process_is_kept_to_one_before_they_start(tmp_path: Path) -> None:
    pump, cores = Pump(), usable_cores()
    parts = Hashing(tmp_path, pump, Share())
    os.sched_setaffinity(0, {min(cores)})
    try:
        parts.start()
        for threads in (parts.people, parts.guessers):
            assert pump.result(threads.run(usable_cores, 1)) == cores
    finally:
        os.sched_setaffinity(0, cores)
        parts.stop()


def test_a_heavy_hash_of_people_takes_all_places_of_a_core(tmp_path: Path) -> None:
    with hashing(tmp_path, Pump(), Share(1, 2)) as parts:
        assert (parts.people.places_of(HEAVY), parts.guessers.places_of(HEAVY)) == (A_CORE, 1)


def at_once(threads: HashThreads) -> int:
    """How many places there are."""
    return next(number for number in range(1000) if not threads.have_room(number + 1))


@pytest.mark.parametrize("share", [Share(), Share(1, 2), Share(2, 2)])
def test_a_few_a_core_for_people_and_one_for_guessers(tmp_path: Path, share: Share) -> None:
    cores = len(usable_cores())
    threads = min(cores, share.part(cores) + 1)
    with hashing(tmp_path, Pump(), share) as parts:
        assert (at_once(parts.people), at_once(parts.guessers)) == (A_CORE * threads, threads)


def test_workers_share_slots_and_a_lone_process_needs_none(tmp_path: Path) -> None:
    pump = Pump()
    with hashing(tmp_path, pump, Share()) as alone:
        pump.result(alone.people.run(priority, 1))
        assert not list(tmp_path.iterdir())
    with hashing(tmp_path, pump, Share(1, 2)) as worker:
        for threads in (worker.people, worker.guessers):
            pump.result(threads.run(priority, 1))
        pump.result(worker.people.run(priority, A_CORE))
        assert {path.name for path in tmp_path.iterdir()} == {"hash-slot-1", "heavy-slot-1", "guess-slot-1"}


def test_heavy_ones_of_all_workers_are_as_many_as_the_cores_and_light_ones_do_not_hold_them_up(tmp_path: Path) -> None:
    pump, cores = Pump(), len(usable_cores())
    go, began = threading.Event(), threading.Semaphore(0)
    running: list[str] = []

    def hash_of(kind: str) -> None:
        running.append(kind)
        began.release()
        go.wait(GIVE_UP)

    with hashing(tmp_path, pump, Share(1, 2)) as one, hashing(tmp_path, pump, Share(2, 2)) as two:
        jobs = [one.people.run(partial(hash_of, "light"), 1) for _ in range(at_once(one.people))]
        jobs += [two.people.run(partial(hash_of, "heavy"), A_CORE) for _ in range(cores + 1)]
        assert all(began.acquire(timeout=GIVE_UP) for _ in jobs[1:])
        assert running.count("heavy") == cores
        go.set()
        for job in jobs:
            pump.result(job)
