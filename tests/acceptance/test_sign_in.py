"""Signing in is live: what the product's table says now counts now, for new sign-ins and for open sessions."""

import math
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.wire import Reply, Wire, attempt, greeted, signed_in

NEW = "tr0ub4dor&3"
NO_LONGER_VALID = "Your sign-in is no longer valid; sign in again"


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
# that is left out does not. The first rounds are longer: a refusal waits as long as a hash takes, which is not known yet.
_FEWEST, _ROUNDS = 5, 60
_MANY = 1_000_000
STALE, HASHED_AGAIN, OFF, NOBODY = (f"{name}@example.com" for name in ("stale", "again", "off", "nobody"))


@pytest.fixture
def expensive(install: Install) -> GatewayProcess:
    """With hashes that cost enough to be seen beside everything else, and no delay that would hide it. Nobody is locked out."""
    gateway = install(
        lockout={"delay": "0s", "failures": _MANY, "account_failures": _MANY, "network_accounts": _MANY},
        limits={"auth_failures_per_session": _MANY, "errors_per_session": _MANY},
    )
    accounts = gateway.at.accounts
    accounts.delete(LOGIN)
    for login in (LOGIN, OFF, STALE, HASHED_AGAIN):
        accounts.add(login, PASSWORD, cost=9)
    accounts.set_active(OFF, active=False)
    return gateway.start()


def _cases(gateway: GatewayProcess, number: int) -> dict[str, tuple[str, str]]:
    """What is tried in a round, by what it is; with a number in it, for the first time."""
    gateway.at.accounts.set_password(HASHED_AGAIN, f"{NEW} {number}", cost=9)
    return {
        "wrong": (LOGIN, f"guess {number}"),
        "wrong again": (LOGIN, "guess"),
        "unknown": (f"nobody{number}@example.com", "guess"),
        "unknown again": (NOBODY, "guess"),
        "disabled": (OFF, PASSWORD),
        "disabled and wrong": (OFF, f"guess {number}"),
        "stale": (HASHED_AGAIN, PASSWORD),
        "stale again": (STALE, PASSWORD),
    }


def test_refusals_cannot_be_told_apart(expensive: GatewayProcess) -> None:
    for login in (STALE, HASHED_AGAIN):
        assert attempt(expensive, login).code == 235
    expensive.at.accounts.set_password(STALE, NEW, cost=9)
    replies: set[Reply] = set()
    times: dict[str, float] = {}
    with greeted(expensive) as wire:
        for number in range(_ROUNDS):
            for case, (login, password) in _cases(expensive, number).items():
                began = time.perf_counter()
                replies.add(wire.sign_in(login, password))
                times[case] = min(times.get(case, math.inf), time.perf_counter() - began)
            if number >= _FEWEST and max(times.values()) < 1.5 * min(times.values()):
                break
    assert {reply.head for reply in replies} == {"535 5.7.8"}
    assert len(replies) == 1
    assert max(times.values()) < 1.5 * min(times.values()), times
    results = ("wrong", "unknown", "disabled", "stale", "repeated")
    assert all(expensive.figure("auth_attempts_total", result=result) > _FEWEST for result in results)


def test_the_third_failure_ends_the_session(gateway: GatewayProcess) -> None:
    with greeted(gateway) as wire:
        assert [wire.sign_in(password="guess").head for _ in range(3)] == ["535 5.7.8"] * 3
        assert wire.reply().head == "421 4.7.0"
        assert ended(wire)
