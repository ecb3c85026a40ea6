"""Sessions of several processes counted together."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.limits import Admission, Door
from gateway.edge.tally import KEY_OCTETS, Tally, shared_memory

KEY = bytes(range(KEY_OCTETS))


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = shared_memory(4)
    yield descriptor
    os.close(descriptor)


def tallies(descriptor: int) -> list[Tally]:
    return [Tally(descriptor, 4, number, KEY) for number in range(4)]


def test_each_sees_the_others_and_not_itself(memory: int) -> None:
    one, two, three, _ = tallies(memory)
    one.change("192.0.2.1/32", 1)
    two.change("192.0.2.1/32", 1)
    two.change("192.0.2.2/32", 1)
    assert [tally.total() for tally in (one, two, three)] == [2, 1, 3]
    assert [tally.of("192.0.2.1/32") for tally in (one, two, three)] == [1, 1, 2]
    assert [tally.of("192.0.2.2/32") for tally in (one, two, three)] == [1, 0, 1]


def test_what_has_left_is_not_counted(memory: int) -> None:
    one, two, *_ = tallies(memory)
    for by in (1, 1, -1):
        one.change("2001:db8::/64", by)
    assert (two.total(), two.of("2001:db8::/64")) == (1, 1)


def test_a_connection_without_a_network_counts_in_the_total_alone(memory: int) -> None:
    one, two, *_ = tallies(memory)
    one.change("", 1)
    assert two.total() == 1


def test_the_dead_are_forgotten_and_nobody_else(memory: int) -> None:
    one, two, three, _ = tallies(memory)
    one.change("192.0.2.1/32", 1)
    for _ in range(3):
        two.change("192.0.2.1/32", 1)
    three.clear(1)
    assert (three.total(), three.of("192.0.2.1/32")) == (1, 1)


def test_a_thousand_networks_at_once_are_told_apart(memory: int) -> None:
    one, two, *_ = tallies(memory)
    networks = [f"10.0.{number // 256}.{number % 256}/32" for number in range(1000)]
    for network in networks:
        one.change(network, 1)
    assert {two.of(network) for network in networks} == {1}


def test_the_total_is_exact_however_many_there_are(memory: int) -> None:
    one, two, *_ = tallies(memory)
    for number in range(100_000):
        one.change(f"{number}", 1)
    assert two.total() == 100_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), max_size=600))
def test_it_counts_what_was_let_in(entered: list[tuple[int, int]]) -> None:
    """Never too few; too many only when two networks have all their counters in common, which these do not."""
    descriptor = shared_memory(4)
    try:
        all_of_them = tallies(descriptor)
        for number, network in entered:
            all_of_them[number].change(f"10.0.{network // 256}.{network % 256}/32", 1)
        of_others = Counter(network for number, network in entered if number)
        assert all_of_them[0].total() == of_others.total()
        for network, count in of_others.items():
            assert all_of_them[0].of(f"10.0.{network // 256}.{network % 256}/32") == count
    finally:
        os.close(descriptor)


def test_limits_hold_for_all_processes_together(memory: int) -> None:
    doors = [Door(5, 3, tally) for tally in tallies(memory)]
    assert [door.enter("192.0.2.1/32") for door in doors] == [Admission.ACCEPTED] * 3 + [Admission.TOO_MANY_OF_NETWORK]
    assert doors[0].enter("192.0.2.2/32") is Admission.ACCEPTED
    assert doors[3].reserve()
    assert doors[1].enter("192.0.2.3/32") is Admission.TOO_MANY
    assert not doors[2].reserve()
    doors[3].release()
    doors[2].leave("192.0.2.1/32")
    assert doors[1].enter("192.0.2.1/32") is Admission.ACCEPTED


def test_one_who_is_refused_takes_no_place_anywhere(memory: int) -> None:
    one, two = (Door(1, 1, tally) for tally in tallies(memory)[:2])
    one.enter("192.0.2.1/32")
    for _ in range(3):
        two.enter("192.0.2.1/32")
        two.enter("192.0.2.2/32")
    one.leave("192.0.2.1/32")
    assert two.enter("192.0.2.2/32") is Admission.ACCEPTED


def test_whoever_comes_in_is_seen_by_the_others_before_it_looks(memory: int) -> None:
    first, second = tallies(memory)[:2]

    class Watched:
        """The first one's tally; the second one looks in the moment in which the first does."""

        def change(self, network: str, by: int) -> None:
            first.change(network, by)

        def total(self) -> int:
            assert second.total() == 1
            return first.total()

        def of(self, network: str) -> int:
            assert second.of(network) == 1
            return first.of(network)

    assert Door(1, 1, Watched()).enter("192.0.2.1/32") is Admission.ACCEPTED
