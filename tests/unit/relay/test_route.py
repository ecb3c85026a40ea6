"""How long a hop that failed rests, and who finds out that it works again."""

import pytest

from gateway.relay.route import LONGEST_REST, PROBE, Health, failed, may_try, tried, undecided


def down(times: int, at: float = 0.0) -> Health:
    health = Health()
    for _ in range(times):
        health = failed(health, at, "refused", probe=not health.good)
    return health


@pytest.mark.parametrize(("times", "rest"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, LONGEST_REST), (5000, LONGEST_REST)])
def test_rest_doubles_up_to_the_longest(times: int, rest: float) -> None:
    health = down(times, at=100.0)
    assert not may_try(health, 100.0 + rest - 0.01)
    assert may_try(health, 100.0 + rest)


def test_a_good_hop_takes_any_number() -> None:
    assert may_try(tried(tried(Health(), 0.0), 0.0), 0.0)


def test_one_probe_at_a_time() -> None:
    probing = tried(down(1), 1000.0)
    assert not may_try(probing, 1000.0)
    assert may_try(undecided(probing, probe=True), 1000.0)
    assert not may_try(undecided(probing, probe=False), 1000.0)


def test_a_probe_that_hangs_makes_others_wait_for_a_minute() -> None:
    probing = tried(down(1), 1000.0)
    assert not may_try(probing, 1000.0 + PROBE - 0.01)
    assert may_try(probing, 1000.0 + PROBE)
    assert not may_try(failed(probing, 1000.0 + PROBE, "timed out", probe=True), 1000.0 + PROBE)


def test_failures_of_one_outage_count_once() -> None:
    first = failed(Health(), 10.0, "refused", probe=False)
    assert failed(first, 11.0, "later", probe=False) == first


def test_the_reason_is_the_latest_probe_s() -> None:
    assert failed(down(1), 5.0, "no greeting", probe=True).reason == "no greeting"
