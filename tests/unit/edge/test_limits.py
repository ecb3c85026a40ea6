"""Who may come in, and what counts as one network."""

import pytest

from gateway.edge.limits import MAX_NETWORKS, Admission, Door, Pace, address_of, network_of


def test_the_total_and_the_networks_are_counted() -> None:
    door = Door(3, 2)
    assert [door.enter("a"), door.enter("a"), door.enter("a")] == [
        Admission.ACCEPTED,
        Admission.ACCEPTED,
        Admission.TOO_MANY_OF_NETWORK,
    ]
    assert door.enter("b") is Admission.ACCEPTED
    assert door.enter("c") is Admission.TOO_MANY
    door.leave("a")
    assert door.enter("c") is Admission.ACCEPTED


def test_a_refused_one_takes_no_place() -> None:
    door = Door(1, 1)
    door.enter("a")
    for _ in range(5):
        door.enter("b")
    door.leave("a")
    assert door.enter("b") is Admission.ACCEPTED


def test_networks_that_have_left_are_forgotten() -> None:
    door = Door(10, 10)
    for number in range(100):
        door.enter(str(number))
        door.leave(str(number))
    assert not door._of_network


def test_limits_may_change_while_sessions_are_open() -> None:
    door = Door(2, 2)
    door.enter("a")
    door.enter("a")
    door.total, door.per_network = 1, 1
    assert door.enter("b") is Admission.TOO_MANY
    door.leave("a")
    door.leave("a")
    assert door.enter("b") is Admission.ACCEPTED
    door.total = 5
    assert door.enter("b") is Admission.TOO_MANY_OF_NETWORK


def test_a_reserved_place_counts_in_the_total_only() -> None:
    door = Door(2, 1)
    assert door.reserve()
    assert door.enter("a") is Admission.ACCEPTED
    assert not door.reserve()
    assert door.enter("b") is Admission.TOO_MANY
    door.release()
    assert door.enter("b") is Admission.ACCEPTED


@pytest.mark.parametrize(
    ("text", "address"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::1"), ("::1", "::1")],
)
def test_an_address_as_it_counts(text: str, address: str) -> None:
    assert str(address_of(text)) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.64/26"),
        ("::ffff:192.0.2.77", "192.0.2.64/26"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_network_of(address: str, network: str) -> None:
    assert network_of(address, 26, 64) == network


def test_no_more_than_this_process_has_room_for() -> None:
    door = Door(10, 10, places=1)
    assert door.enter("192.0.2.1/32") is Admission.ACCEPTED
    assert door.enter("192.0.2.2/32") is Admission.TOO_MANY
    assert not door.reserve()
    door.leave("192.0.2.1/32")
    assert door.reserve()


def test_new_connections_of_a_network_come_at_their_pace() -> None:
    pace = Pace()
    assert [pace.admit("a", 0.0, 60) for _ in range(61)] == [True] * 60 + [False]
    assert pace.admit("b", 0.0, 60)
    assert [pace.admit("a", 1.5, 60), pace.admit("a", 1.5, 60)] == [True, False]
    assert [pace.admit("a", 1000.0, 60) for _ in range(61)] == [True] * 60 + [False]
    assert pace.admit("a", 1000.0, 0)


def test_the_networks_whose_pace_is_known_are_bounded() -> None:
    pace = Pace()
    for n in range(MAX_NETWORKS + 1):
        pace.admit(str(n), 0.0, 1)
    assert pace.admit("0", 0.0, 1)  # forgotten
    assert not pace.admit(str(MAX_NETWORKS), 0.0, 1)
