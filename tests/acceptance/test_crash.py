"""kill -9 while mail is accepted and delivered: whatever got a 250 arrives (promise 4 of ARCHITECTURE.md)."""

import random
from collections import Counter
from functools import partial

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.ledger import NAME, RECIPIENTS, Ledger, clients, ends_empty, stored
from tests.acceptance.rounds import ROUNDS
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until

pytestmark = pytest.mark.timeout(300 + 20 * ROUNDS)


def _kill_under_load(gateway: GatewayProcess, ledger: Ledger, chance: random.Random) -> None:
    """Let at least a few messages be accepted, then kill it in the middle of more."""
    enough = len(ledger.accepted) + chance.randint(10, 40)
    with clients(gateway, ledger):
        until(lambda: len(ledger.accepted) >= enough, gateway.story)
        gateway.kill()


def _all_stored(gateway: GatewayProcess, recipient: str, ledger: Ledger) -> bool:
    return ledger.accepted <= set(stored(gateway, recipient))


def test_nothing_accepted_is_lost_on_the_way_to_a_maildir(install: Install) -> None:
    gateway, ledger, chance = install(), Ledger(), random.Random(1)
    for _ in range(ROUNDS):
        gateway.start()
        _kill_under_load(gateway, ledger, chance)
    gateway.start()
    for recipient in RECIPIENTS:
        until(partial(_all_stored, gateway, recipient, ledger), gateway.story)
        # a Maildir knows what it has got: not even a delivery that nobody wrote down comes twice
        assert max(stored(gateway, recipient).values()) == 1
    ends_empty(gateway)


def _arrivals(smarthost: Smarthost) -> Counter[tuple[str, str, int]]:
    """How often a message came for a recipient in one life of the gateway."""
    return Counter(
        (found[1].decode(), recipient, delivery.life)
        for delivery in smarthost.deliveries
        for recipient in delivery.recipients
        if (found := NAME.search(delivery.data))
    )


def test_nothing_accepted_is_lost_on_the_way_to_a_smarthost(install: Install, smarthost: Smarthost) -> None:
    gateway, ledger, chance = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}), Ledger(), random.Random(2)
    for _ in range(ROUNDS):
        gateway.start()
        _kill_under_load(gateway, ledger, chance)
        until(lambda: not smarthost.connections, "the smarthost has noticed")
        smarthost.life += 1
    gateway.start()
    expected = {(name, recipient) for name in ledger.accepted for recipient in RECIPIENTS}

    def all_there() -> bool:
        return expected <= {(name, recipient) for name, recipient, _ in _arrivals(smarthost)}

    until(all_there, lambda: f"missing {_missing(expected, smarthost)}\n{gateway.story()}")
    ends_empty(gateway)
    # twice only when the process died between the smarthost's 250 and its own record of it: never within one life
    assert set(_arrivals(smarthost).values()) == {1}
    assert all(len(delivery.recipients) == 1 for delivery in smarthost.deliveries)  # the blind one never in company


def _missing(expected: set[tuple[str, str]], smarthost: Smarthost) -> list[tuple[str, str]]:
    return sorted(expected - {(name, recipient) for name, recipient, _ in _arrivals(smarthost)})[:5]
