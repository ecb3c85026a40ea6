"""Round robin over networks, and how many turns come before one's own."""

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.turns import Turns, TwoRounds

T = TypeVar("T")
NETWORKS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NETWORKS, st.integers(0, 9)),
        st.tuples(st.just("discard"), NETWORKS, st.integers(0, 9)),
        st.tuples(st.just("take"), NETWORKS, st.just(0)),
    ),
    max_size=60,
)


def after(steps: list[tuple[str, str, int]]) -> tuple[Turns[str], set[str]]:
    """The turns after these steps, and what waits in them. An item is its network and number."""
    turns: Turns[str] = Turns()
    waiting: set[str] = set()
    for verb, network, number in steps:
        item = f"{network}{number}"
        if verb == "add":
            turns.add(network, item)
            waiting.add(item)
        elif verb == "discard":
            turns.discard(network, item)
            waiting.discard(item)
        elif waiting:
            first = turns.first()
            assert first == turns.take()
            waiting.remove(first or "")
        assert len(turns) == len(waiting)
        assert (turns.first() is None) is (not waiting)
    return turns, waiting


def taken(turns: Turns[str]) -> list[str]:
    return [turns.take() for _ in range(len(turns))]


@given(STEPS)
def test_everybody_has_one_turn(steps: list[tuple[str, str, int]]) -> None:
    turns, waiting = after(steps)
    assert sorted(taken(turns)) == sorted(waiting)


@given(STEPS, NETWORKS)
def test_ahead_is_how_many_come_first(steps: list[tuple[str, str, int]], network: str) -> None:
    turns, _ = after(steps)
    expected = turns.ahead(network)
    turns.add(network, "new")
    assert taken(turns).index("new") == expected


@given(STEPS)
def test_nobody_has_a_second_turn_before_each_has_had_one(steps: list[tuple[str, str, int]]) -> None:
    turns, waiting = after(steps)
    networks = {item[0] for item in waiting}
    assert {item[0] for item in taken(turns)[: len(networks)]} == networks


@given(STEPS, NETWORKS)
def test_what_another_network_adds_costs_one_turn_a_round(steps: list[tuple[str, str, int]], network: str) -> None:
    turns, waiting = after(steps)
    rounds = sum(item[0] == network for item in waiting) + 1
    before = turns.ahead(network)
    for number in range(1000):
        turns.add("flood", f"flood{number}")
    assert turns.ahead(network) <= before + rounds


def take(rounds: TwoRounds[T]) -> T:
    """From the round whose turn it is, or else from the other."""
    return rounds.take(known=next(known for known in rounds.order() if rounds.first(known=known) is not None))


def test_first_come_first_served_within_a_network() -> None:
    turns: Turns[str] = Turns()
    for item in ("b", "a", "c", "b"):
        turns.add("n", item)
    assert taken(turns) == ["b", "a", "c"]


def test_known_networks_have_every_other_turn() -> None:
    rounds: TwoRounds[str] = TwoRounds()
    for n in range(100):
        rounds.add(f"strange{n}", f"s{n}", known=False)
    assert rounds.ahead("home", known=True) == 1
    assert rounds.ahead("strange100", known=False) == 100
    assert rounds.ahead("home", known=True, apart=True) == 0
    rounds.add("home", "k0", known=True)
    rounds.add("home", "k1", known=True)
    taken = [take(rounds) for _ in range(5)]
    assert [item for item in taken if item.startswith("k")] == ["k0", "k1"]
    assert taken.index("k0") <= 1
    assert taken.index("k1") <= 3
    assert len(rounds) == 97


def test_a_round_that_is_empty_gives_its_turns_to_the_other() -> None:
    rounds: TwoRounds[int] = TwoRounds()
    for n in range(3):
        rounds.add("a", n, known=True)
    rounds.add("b", 9, known=False)
    rounds.discard("b", 9)
    assert [take(rounds) for _ in range(3)] == [0, 1, 2]
    assert not len(rounds)
