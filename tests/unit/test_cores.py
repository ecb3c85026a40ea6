"""Each worker on a core of its own."""

import os
from concurrent.futures import ThreadPoolExecutor

from gateway.cores import core_of, run_on, usable_cores


def test_there_is_a_core() -> None:
    assert usable_cores()


def test_workers_have_cores_of_their_own_while_there_are_enough() -> None:
    assert [core_of(worker, {2, 5, 7}) for worker in (1, 2, 3, 4)] == [{2}, {5}, {7}, {2}]


def test_a_thread_runs_on_the_core_it_is_given_and_what_it_starts_does() -> None:
    ours = usable_cores()
    one = core_of(1, ours)

    def within() -> tuple[object, object]:
        run_on(one)
        with ThreadPoolExecutor(1) as pool:
            return usable_cores(), pool.submit(usable_cores).result()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(within).result() == (one, one)
    assert usable_cores() == ours


def test_a_core_that_is_not_there_changes_nothing() -> None:
    ours = usable_cores()
    run_on({(os.cpu_count() or 1) + 500})
    assert usable_cores() == ours
