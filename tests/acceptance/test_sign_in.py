"""Signing in is live: what the product's table says now counts now, for new sign-ins and for open sessions."""

import math
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.wire import Reply, Wire, greeted, signed_in

NEW = "tr0ub4dor&3"
NO_LONGER_VALID = "Your sign-in is no longer valid; sign in again"


def attempt(gateway: GatewayProcess, login: str = LOGIN, password: str = PASSWORD) -> Reply:
    with greeted(gateway) as wire:
        return wire.sign_in(login, password)


def ended(wire: Wire) -> bool:
    return wire.rest() == b""


def test_a_changed_password_counts_at_once(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        gateway.at.accounts.set_password(LOGIN, NEW)
        assert attempt(gateway).head == "535 5.7.8"
        assert attempt(gateway, password=NEW).head == "235 2.7.0"
        said = wire.data(message("stale"))  # begun before, ended after: nothing of it is queued
        assert said.head == "421 4.7.0"
        assert NO_LONGER_VALID in said.text
        assert ended(wire)
    assert not gateway.logged("accepted")


def _change(gateway: GatewayProcess) -> None:
    gateway.at.accounts.set_password(LOGIN, NEW)


def _disable(gateway: GatewayProcess) -> None:
    gateway.at.accounts.set_active(LOGIN, active=False)


def _delete(gateway: GatewayProcess) -> None:
    gateway.at.accounts.delete(LOGIN)


@pytest.mark.parametrize("change", [_change, _disable, _delete])
def test_an_open_session_ends_at_its_next_mail(gateway: GatewayProcess, change: Callable[[GatewayProcess], None]) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        assert wire.data(message("before")).code == 250
        change(gateway)
        said = wire.command(f"MAIL FROM:<{LOGIN}>")
        assert said.head == "421 4.7.0"
        assert NO_LONGER_VALID in said.text
        assert ended(wire)
    assert attempt(gateway).head == "535 5.7.8"
    until_arrived(gateway, "bob@example.net")  # what was accepted goes on


def test_enabled_again_signs_in_again(gateway: GatewayProcess) -> None:
    _disable(gateway)
    assert attempt(gateway).head == "535 5.7.8"
    gateway.at.accounts.set_active(LOGIN, active=True)
    assert attempt(gateway).head == "235 2.7.0"


def test_the_login_table_away_and_back(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as idle, signed_in(gateway) as busy, greeted(gateway) as fresh:
        busy.envelope("bob@example.net")
        with gateway.at.accounts.away():
            assert fresh.sign_in().head == "454 4.7.0"
            assert idle.command(f"MAIL FROM:<{LOGIN}>").head == "451 4.3.0"
            assert busy.data(message("away")).head == "451 4.3.0"
        for wire, name in ((idle, "idle"), (busy, "busy")):
            wire.envelope("bob@example.net")
            assert wire.data(message(name)).code == 250
        assert fresh.sign_in().code == 235
    assert len(until_arrived(gateway, "bob@example.net", 2)) == 2


# The best of several times is compared: a busy machine only adds to them, so noise goes away with more rounds, and a hash
# that is left out does not.
_FEWEST, _ROUNDS = 5, 60


@pytest.fixture
def expensive(install: Install) -> GatewayProcess:
    """With hashes that cost enough to be seen beside everything else, and no delay that would hide it."""
    gateway = install(lockout={"delay": "0s"}, limits={"auth_failures_per_session": 1000})
    accounts = gateway.at.accounts
    accounts.delete(LOGIN)
    for login in (LOGIN, "off@example.com"):
        accounts.add(login, PASSWORD, cost=9)
    accounts.set_active("off@example.com", active=False)
    return gateway.start()


def test_wrong_unknown_and_disabled_cannot_be_told_apart(expensive: GatewayProcess) -> None:
    cases = {
        "wrong": (LOGIN, "guess"),
        "unknown": ("nobody@example.com", "guess"),
        "disabled": ("off@example.com", PASSWORD),
        "disabled and wrong": ("off@example.com", "guess"),
    }
    replies: set[Reply] = set()
    times: dict[str, float] = dict.fromkeys(cases, math.inf)
    with greeted(expensive) as wire:
        assert wire.sign_in("nobody@example.com", "guess").code == 535  # one that is not measured
        for number in range(_ROUNDS):
            for case, (login, password) in cases.items():
                began = time.perf_counter()
                replies.add(wire.sign_in(login, password))
                times[case] = min(times[case], time.perf_counter() - began)
            if number >= _FEWEST and max(times.values()) < 2 * min(times.values()):
                break
    assert {reply.head for reply in replies} == {"535 5.7.8"}
    assert len(replies) == 1
    assert max(times.values()) < 2 * min(times.values()), times


def test_the_third_failure_ends_the_session(gateway: GatewayProcess) -> None:
    with greeted(gateway) as wire:
        assert [wire.sign_in(password="guess").head for _ in range(3)] == ["535 5.7.8"] * 3
        assert wire.reply().head == "421 4.7.0"
        assert ended(wire)
