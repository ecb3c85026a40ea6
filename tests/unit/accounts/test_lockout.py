"""The rules of lockout as tables."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import lockout
from gateway.accounts.lockout import Attempt, Scope, SheetKey
from gateway.config import Lockout

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ATTEMPT = Attempt("a:7", "tag", "192.0.2.1/32", "192.0.2.0/24", 5)
ALL = (Scope.ACCOUNT_NETWORK, Scope.ACCOUNT, Scope.NETWORK, Scope.TRUST)
TRUSTED = (Scope.ACCOUNT_NETWORK, Scope.ACCOUNT_TRUST, Scope.TRUST)


def rules(**settings: Any) -> Lockout:
    return Lockout.model_validate(settings)


def on(network: str) -> Attempt:
    return Attempt("a:7", "tag", network, network, 5)


@pytest.mark.parametrize(
    ("settings", "known", "expected"),
    [
        ({}, False, ALL),
        ({}, True, TRUSTED),
        ({"failures": 0}, False, (Scope.ACCOUNT, Scope.NETWORK, Scope.TRUST)),
        ({"failures": 0}, True, (Scope.ACCOUNT_TRUST, Scope.TRUST)),
        ({"account_failures": 0}, False, (Scope.ACCOUNT_NETWORK, Scope.NETWORK, Scope.TRUST)),
        ({"account_failures": 0}, True, (Scope.ACCOUNT_NETWORK, Scope.TRUST)),
        ({"network_accounts": 0}, False, (Scope.ACCOUNT_NETWORK, Scope.ACCOUNT)),
        ({"network_accounts": 0}, True, (Scope.ACCOUNT_NETWORK, Scope.ACCOUNT_TRUST)),
        ({"allow": ["192.0.2.1"]}, False, ()),
        ({"allow": ["198.51.100.0/24", "192.0.0.0/8"]}, True, ()),
        ({"allow": ["192.0.2.2"]}, False, ALL),
        ({"allow": ["::/0"]}, False, ALL),
    ],
)
def test_sheets_of_an_attempt(settings: dict[str, Any], known: bool, expected: tuple[Scope, ...]) -> None:
    assert lockout.scopes(rules(**settings), ATTEMPT, known=known) == expected


def test_from_where_the_account_has_signed_in_only_the_sheet_of_the_two_counts() -> None:
    assert lockout.scopes(rules(), ATTEMPT, known=True, exact=True) == (Scope.ACCOUNT_NETWORK,)
    assert lockout.scopes(rules(failures=0), ATTEMPT, known=True, exact=True) == ()


def test_where_both_networks_are_one_there_are_no_sheets_of_the_wider_one() -> None:
    same = on("192.0.2.0/24")
    assert lockout.scopes(rules(), same, known=False) == (Scope.ACCOUNT_NETWORK, Scope.ACCOUNT, Scope.NETWORK)
    assert lockout.scopes(rules(), same, known=True) == (Scope.ACCOUNT_NETWORK,)


@pytest.mark.parametrize(
    ("network", "allow", "allowed"),
    [
        ("192.0.2.0/24", "192.0.2.9", True),  # a lock would be on that address too
        ("192.0.2.0/24", "192.0.3.9", False),
        ("2001:db8:1:2::/64", "2001:db8:1::/48", True),
        ("2001:db8:1:2::/64", "2001:db8:1:2::25", True),
        ("2001:db8:1:2::/64", "2001:db8:2::/48", False),
        ("2001:db8:1:2::/64", "0.0.0.0/0", False),
    ],
)
def test_allowed_networks(network: str, allow: str, allowed: bool) -> None:
    assert (lockout.scopes(rules(allow=[allow]), on(network), known=False) == ()) is allowed


def test_keys_tell_sheets_apart() -> None:
    assert [lockout.sheet_key(scope, ATTEMPT) for scope in ALL] == [
        SheetKey("a:7", "tag", "192.0.2.1/32"),
        SheetKey("a:7", "tag", ""),
        SheetKey("", "", "192.0.2.1/32"),
        SheetKey("", "", "192.0.2.0/24"),
    ]
    assert SheetKey("a:7", "tag", "192.0.2.0/24") == ACCOUNT_TRUST


@pytest.mark.parametrize(
    ("scope", "limit", "window"),
    [
        (Scope.ACCOUNT_NETWORK, 5, 15 * MINUTE),
        (Scope.ACCOUNT, 50, DAY),
        (Scope.NETWORK, 10, 15 * MINUTE),
        (Scope.ACCOUNT_TRUST, 50, DAY),
        (Scope.TRUST, 50, 15 * MINUTE),
    ],
)
def test_limits_and_windows(scope: Scope, limit: int, window: float) -> None:
    assert (lockout.limit(rules(), scope), lockout.window(rules(), scope)) == (limit, window)


@pytest.mark.parametrize(("earlier", "minutes"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (10_000, 60)])
def test_locks_double_up_to_the_longest(earlier: int, minutes: float) -> None:
    assert lockout.lock_seconds(rules(), earlier) == minutes * MINUTE


def test_the_first_lock_is_not_longer_than_the_longest() -> None:
    assert lockout.lock_seconds(rules(duration="2h"), 0) == HOUR


@pytest.mark.parametrize(
    ("trust_for", "seen", "known", "refresh"),
    [
        ("30d", None, False, True),
        ("30d", 0.0, True, False),
        ("30d", DAY - 1, True, False),
        ("30d", DAY, True, True),
        ("30d", 30 * DAY - 1, True, True),
        ("30d", 30 * DAY, False, True),
        ("1h", 29 * MINUTE, True, False),
        ("1h", 30 * MINUTE, True, True),  # before it is forgotten
        ("0s", 0.0, False, False),
        ("0s", None, False, False),
    ],
)
def test_known_networks(trust_for: str, seen: float | None, known: bool, refresh: bool) -> None:
    settings = rules(trust_for=trust_for)
    assert (lockout.is_known(settings, seen), lockout.is_to_be_refreshed(settings, seen)) == (known, refresh)


PAIR, ACCOUNT, NETWORK, ACCOUNT_TRUST, TRUST = (lockout.sheet_key(scope, ATTEMPT) for scope in Scope)


@pytest.mark.parametrize(
    ("locks", "seen", "locked"),
    [
        ({}, None, (None, None)),
        ({PAIR: 9.0}, None, (9.0, Scope.ACCOUNT_NETWORK)),
        ({PAIR: 9.0}, 0.0, (9.0, Scope.ACCOUNT_NETWORK)),
        ({ACCOUNT: 9.0}, None, (9.0, Scope.ACCOUNT)),
        ({NETWORK: 9.0}, None, (9.0, Scope.NETWORK)),
        ({ACCOUNT: 9.0, NETWORK: 8.0}, 0.0, (None, None)),
        ({ACCOUNT: 9.0, NETWORK: 10.0, PAIR: 8.0}, None, (10.0, Scope.NETWORK)),
        ({ACCOUNT_TRUST: 9.0}, 0.0, (9.0, Scope.ACCOUNT_TRUST)),
        ({ACCOUNT_TRUST: 9.0}, None, (None, None)),
        ({TRUST: 9.0}, 0.0, (9.0, Scope.TRUST)),
        ({TRUST: 9.0}, None, (9.0, Scope.TRUST)),
        ({SheetKey("a:7", "old tag", ""): 9.0}, None, (None, None)),  # of an earlier password
        ({SheetKey("a:8", "tag", ""): 9.0, SheetKey("", "", "192.0.2.2/32"): 9.0}, None, (None, None)),
    ],
)
def test_locks_that_hold_an_attempt_up(
    locks: dict[SheetKey, float], seen: float | None, locked: tuple[float | None, Scope | None]
) -> None:
    sheet = lockout.judge(rules(), ATTEMPT, locks, seen=seen, has_failures=False)
    assert (sheet.locked, sheet.scope) == locked
    off = rules(failures=0, account_failures=0, network_accounts=0)
    assert lockout.judge(off, ATTEMPT, locks, seen=seen, has_failures=False).locked is None


@pytest.mark.parametrize(("seen", "seen_exact"), [(None, None), (0.0, None), (0.0, 0.0)])
def test_a_networks_own_lock_is_told_wherever_the_account_is_known(seen: float | None, seen_exact: float | None) -> None:
    def network_locked(locks: dict[SheetKey, float], **settings: Any) -> float | None:
        return lockout.judge(
            rules(**settings), ATTEMPT, locks, seen=seen, seen_exact=seen_exact, has_failures=False
        ).network_locked

    assert network_locked({}) is None
    assert network_locked({PAIR: 9.0, ACCOUNT: 8.0, ACCOUNT_TRUST: 7.0}) is None
    assert network_locked({PAIR: 9.0, NETWORK: 5.0}) == 5.0
    assert network_locked({TRUST: 6.0, NETWORK: 5.0}) == 6.0
    assert network_locked({NETWORK: 5.0, TRUST: 6.0}, network_accounts=0) is None
    assert network_locked({NETWORK: 5.0}, allow=["192.0.2.1"]) is None


@pytest.mark.parametrize("scope", Scope)
def test_no_lock_of_others_holds_a_network_where_the_account_has_signed_in(scope: Scope) -> None:
    locks = {lockout.sheet_key(scope, ATTEMPT): 9.0}
    sheet = lockout.judge(rules(), ATTEMPT, locks, seen=0.0, seen_exact=0.0, has_failures=False)
    assert sheet.scope is (scope if scope is Scope.ACCOUNT_NETWORK else None)


@pytest.mark.parametrize(("has_failures", "seen", "noted"), [(True, 0.0, True), (False, DAY, True), (False, 0.0, False)])
def test_a_success_is_noted_only_when_there_is_something_to_note(has_failures: bool, seen: float, noted: bool) -> None:
    sheet = lockout.judge(rules(), ATTEMPT, {}, seen=seen, seen_exact=seen, has_failures=has_failures)
    assert sheet.to_be_noted is noted
    assert lockout.judge(rules(), ATTEMPT, {}, seen=seen, seen_exact=None, has_failures=has_failures).to_be_noted


@given(st.text(), st.text())
def test_an_account_a_credential_and_a_login_never_share_a_sheet(one: str, other: str) -> None:
    assert lockout.account_subject(one) != lockout.login_subject(other)
    assert lockout.account_id(lockout.account_subject(one)) == one
    assert lockout.account_id(lockout.login_subject(one)) == ""
    subjects = {lockout.account_subject("1"), lockout.credential_subject(1), lockout.login_subject("1")}
    assert len(subjects) == 3
    assert {lockout.credential_id(subject) for subject in subjects} == {None, 1}
    assert lockout.account_id(lockout.credential_subject(1)) == ""
    assert lockout.credential_id(lockout.login_subject(other)) is None


@given(st.text(max_size=300))
def test_a_login_of_any_text_has_a_subject_that_every_store_can_hold(login: str) -> None:
    subject = lockout.login_subject(login)
    assert subject.isascii()
    assert subject.isprintable()
    assert len(subject) <= 256
    assert subject[:2] in ("l:", "d:")
    assert (lockout.account_id(subject), lockout.credential_id(subject)) == ("", None)
    assert lockout.login_subject(login + "x") != subject
