"""What every LockoutBook does: the one of our store and the fake that other tests use."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from gateway.accounts.lockout import KNOWN_NETWORKS, Attempt, Charge, Scope, Sheet
from gateway.accounts.ports import LockoutBook
from gateway.config import Lockout
from gateway.edge.limits import network_of
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.database import Database
from gateway.store.lockouts import SqlLockoutBook
from gateway.store.schema import failure, known_network, lockout
from tests.fakes import FakeLockoutBook
from tests.pump import Pump, deferred
from tests.servers.databases import Postgresql
from tests.stores import KINDS, postgresql_url, running, store_url, url_of

T = TypeVar("T")

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
HASH_WAIT = 5.0
CHARGE_LIFE = 35.0  # seconds: hash_wait and 30


class Subject(Protocol):
    book: LockoutBook

    def wait(self, awaitable: Awaitable[T]) -> T: ...

    def pass_time(self, seconds: float) -> None: ...

    def use(self, **rules: Any) -> None: ...


def rules_of(**given: Any) -> Lockout:
    return Lockout.model_validate(given)


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeLockoutBook(rules_of(), HASH_WAIT)
        self.book: LockoutBook = self.fake

    def wait(self, awaitable: Awaitable[T]) -> T:
        return Pump().result(awaitable)

    def pass_time(self, seconds: float) -> None:
        self.fake.now += seconds

    def use(self, **rules: Any) -> None:
        self.fake.rules = rules_of(**rules)


class SqlSubject:
    def __init__(self, database: Database, pump: Pump) -> None:
        self.database, self.pump = database, pump
        self.sql = SqlLockoutBook(database, rules_of(), Metrics(CollectorRegistry()), hash_wait=HASH_WAIT)
        self.book: LockoutBook = self.sql

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.pump.result(awaitable)

    def pass_time(self, seconds: float) -> None:
        """The store's clock is the database's: the rows are moved into the past instead."""

        def move(connection: Connection) -> None:
            for column in (failure.c.at, lockout.c.at, lockout.c.until, known_network.c.seen):
                connection.execute(column.table.update().values({column: column - seconds}))

        self.wait(self.database.write(move))

    def use(self, **rules: Any) -> None:
        self.sql.rules = rules_of(**rules)


@contextmanager
def sql_subject(url: str) -> Iterator[SqlSubject]:
    pump = Pump()
    with running(url, pump) as database:
        yield SqlSubject(database, pump)


@pytest.fixture(params=[*KINDS, "fake"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield FakeSubject()
    else:
        with sql_subject(url_of(request.param, tmp_path, request)) as subject:
            yield subject


def attempt(password: int = 0, *, account: str = "a:7", tag: str = "now", address: str = "192.0.2.1") -> Attempt:
    """By the prefixes that are the defaults."""
    return Attempt(account, tag, network_of(address, 32, 64), network_of(address, 24, 48), password)


def elsewhere(n: int) -> str:
    """An address in a network of its own, by either prefix."""
    return f"10.{n // 200}.{n % 200}.1"


def look(subject: Subject, one: Attempt) -> Sheet:
    return subject.wait(subject.book.look(one))


def locked(subject: Subject, **where: Any) -> Scope | None:
    """The scope of the lock that holds an attempt up."""
    return look(subject, attempt(**where)).scope


def charge(subject: Subject, one: Attempt) -> Charge:
    return subject.wait(subject.book.charge(one))


def wrong(subject: Subject, *attempts: Attempt) -> None:
    """Wrong passwords, one after the other, each of them admitted."""
    for one in attempts:
        charged = charge(subject, one)
        assert charged.admitted, one
        subject.wait(subject.book.fail(charged))


def guesses(count: int, **where: Any) -> list[Attempt]:
    return [attempt(n, **where) for n in range(count)]


def right(subject: Subject, **where: Any) -> None:
    one = attempt(1_000_000, **where)
    charged = charge(subject, one)
    assert charged.admitted
    subject.wait(subject.book.succeed(one, charged))


# Account and network


ODD = ["l:\0", "l:a\0b@example.com", "l:\udc80", "l:日本@example.com", "l:" + "x" * 100_000]


@pytest.mark.parametrize("odd", ODD, ids=lambda text: ascii(text[:20]))
def test_a_subject_that_cannot_be_stored_is_one_askers_trouble_alone(subject: Subject, odd: str) -> None:
    """It never gets that far: `login_subject` makes a digest of it. The store keeps to it all the same."""
    good, bad = attempt(1), attempt(1, account=odd)
    looks = [deferred(subject.book.look(each)) for each in (good, bad, attempt(2, address=elsewhere(3)))]
    charges = [deferred(subject.book.charge(each)) for each in (good, bad, attempt(2, address=elsewhere(3)))]
    for odd_one in (looks.pop(1), charges.pop(1)):
        with suppress(Unavailable):
            subject.wait(odd_one)
    assert [subject.wait(look).locked for look in looks] == [None, None]
    assert [subject.wait(charge).admitted for charge in charges] == [True, True]


def test_five_different_passwords_lock_this_network_out_of_this_account_and_nobody_else(subject: Subject) -> None:
    wrong(subject, *guesses(4))
    assert locked(subject) is None
    wrong(subject, attempt(4))
    sheet = look(subject, attempt())
    assert sheet.scope is Scope.ACCOUNT_NETWORK
    assert sheet.locked == pytest.approx(5 * MINUTE, abs=20)
    refused = charge(subject, attempt(9))
    assert (refused.admitted, refused.id, refused.scope) == (False, None, Scope.ACCOUNT_NETWORK)
    assert refused.locked == pytest.approx(5 * MINUTE, abs=20)
    assert locked(subject, address="192.0.2.2") is None
    assert locked(subject, account="a:8") is None
    subject.pass_time(5 * MINUTE)
    assert locked(subject) is None


def test_the_same_wrong_password_counts_once(subject: Subject) -> None:
    wrong(subject, *[attempt(1)] * 20, *guesses(4))
    assert locked(subject) is None
    wrong(subject, attempt(4))
    assert locked(subject) is Scope.ACCOUNT_NETWORK


def test_fifty_guesses_in_one_burst_do_not_get_more_than_the_limit(subject: Subject) -> None:
    burst = [deferred(subject.book.charge(one)) for one in guesses(50)]
    charges = [subject.wait(each) for each in burst]
    admitted = [each for each in charges if each.admitted]
    assert len(admitted) == 5
    assert {each.scope for each in charges if not each.admitted} == {Scope.ACCOUNT_NETWORK}
    assert all(0.0 < (each.locked or 0.0) <= CHARGE_LIFE for each in charges if not each.admitted)
    assert locked(subject) is None  # a lock takes confirmed failures
    for each in admitted:
        subject.wait(subject.book.fail(each))
    assert locked(subject) is Scope.ACCOUNT_NETWORK


def test_a_password_that_is_counted_already_is_admitted_in_a_full_burst(subject: Subject) -> None:
    charges = [charge(subject, one) for one in guesses(5)]
    again = charge(subject, attempt(0))
    assert again.admitted
    assert not charge(subject, attempt(5)).admitted
    subject.wait(subject.book.refund(charges[0]))
    assert not charge(subject, attempt(5)).admitted  # the other hash of password 0 is under way
    subject.wait(subject.book.refund(again))
    assert charge(subject, attempt(5)).admitted


def test_a_refund_leaves_no_trace(subject: Subject) -> None:
    for one in guesses(20):
        subject.wait(subject.book.refund(charge(subject, one)))
    assert not look(subject, attempt()).has_failures
    wrong(subject, *guesses(4))
    assert locked(subject) is None


def test_a_charge_left_by_a_crash_expires(subject: Subject) -> None:
    for one in guesses(5):
        charge(subject, one)
    assert not charge(subject, attempt(5)).admitted
    subject.pass_time(CHARGE_LIFE - 10)
    assert not charge(subject, attempt(5)).admitted
    subject.pass_time(11)
    assert charge(subject, attempt(5)).admitted
    right(subject)
    assert look(subject, attempt()).has_failures  # the one still under way
    subject.pass_time(CHARGE_LIFE)
    right(subject)
    assert not look(subject, attempt()).has_failures


def test_failures_count_within_the_window(subject: Subject) -> None:
    wrong(subject, *guesses(4))
    subject.pass_time(10 * MINUTE)
    wrong(subject, attempt(0))
    subject.pass_time(6 * MINUTE)
    wrong(subject, *guesses(4))  # three of them are new again
    assert locked(subject) is None
    wrong(subject, attempt(7))
    assert locked(subject) is Scope.ACCOUNT_NETWORK


def test_locks_double_within_a_day(subject: Subject) -> None:
    lasted = []
    for _ in range(6):
        wrong(subject, *guesses(5))
        seconds = look(subject, attempt()).locked or 0.0
        lasted.append(round(seconds / MINUTE))
        subject.pass_time(seconds + 1)
        assert locked(subject) is None
    assert lasted == [5, 10, 20, 40, 60, 60]
    subject.pass_time(DAY)
    wrong(subject, *guesses(5))
    assert look(subject, attempt()).locked == pytest.approx(5 * MINUTE, abs=20)


def test_a_moved_hash_starts_a_clean_sheet(subject: Subject) -> None:
    wrong(subject, *guesses(5))
    assert locked(subject) is Scope.ACCOUNT_NETWORK
    assert locked(subject, tag="moved") is None
    wrong(subject, *guesses(4, tag="moved"))
    assert locked(subject, tag="moved") is None
    wrong(subject, attempt(4, tag="moved"))
    assert look(subject, attempt(tag="moved")).locked == pytest.approx(5 * MINUTE, abs=20)


def test_an_unknown_login_is_locked_alike(subject: Subject) -> None:
    nobody: dict[str, Any] = {"account": "l:nobody@example.com", "tag": ""}
    wrong(subject, *guesses(5, **nobody))
    assert look(subject, attempt(**nobody)).locked == pytest.approx(5 * MINUTE, abs=20)
    assert locked(subject, account="l:nobody@example.org", tag="") is None


def test_success_clears_this_sheet_and_its_locks_alone(subject: Subject) -> None:
    wrong(subject, *guesses(5))
    wrong(subject, *guesses(4, address="192.0.2.2"))
    wrong(subject, *guesses(4, account="a:8"))
    subject.pass_time(5 * MINUTE + 1)
    right(subject)
    assert not look(subject, attempt()).has_failures
    wrong(subject, *guesses(5))
    assert look(subject, attempt()).locked == pytest.approx(5 * MINUTE, abs=20)  # not doubled: that lock is gone too
    others: list[dict[str, Any]] = [{"address": "192.0.2.2"}, {"account": "a:8"}]
    for other in others:
        assert look(subject, attempt(**other)).has_failures
        wrong(subject, attempt(4, **other))
        assert locked(subject, **other) is Scope.ACCOUNT_NETWORK


def test_success_leaves_the_charges_of_others(subject: Subject) -> None:
    guess = charge(subject, attempt(1))
    right(subject)
    subject.wait(subject.book.fail(guess))
    assert look(subject, attempt()).has_failures
    wrong(subject, *guesses(5)[1:])
    assert locked(subject) is None
    wrong(subject, attempt(0))
    assert locked(subject) is Scope.ACCOUNT_NETWORK


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_what_is_one_network(subject: Subject, one: str, other: str, shared: bool) -> None:
    wrong(subject, *guesses(5, address=one))
    assert (locked(subject, address=other) is not None) is shared


# Account


def test_fifty_from_unknown_networks_lock_them_out_and_not_the_known_one(subject: Subject) -> None:
    right(subject, address="198.51.100.1")
    wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(49)))
    assert locked(subject, address="203.0.113.1") is None
    wrong(subject, attempt(49, address=elsewhere(49)))
    sheet = look(subject, attempt(address="203.0.113.1"))
    assert (sheet.scope, sheet.known) == (Scope.ACCOUNT, False)
    assert sheet.locked == pytest.approx(5 * MINUTE, abs=20)
    assert not charge(subject, attempt(address="203.0.113.1")).admitted
    assert locked(subject, address="198.51.100.200") is None  # the same network by the trust prefix
    right(subject, address="198.51.100.200")
    assert locked(subject, address="203.0.113.1") is Scope.ACCOUNT  # a success elsewhere ends nothing
    assert locked(subject, account="a:8", address="203.0.113.1") is None
    assert locked(subject, tag="changed", address="203.0.113.1") is None  # a changed password opens it at once


def test_account_locks_count_anew_and_double(subject: Subject) -> None:
    for start, minutes in ((0, 5), (50, 10), (100, 20)):
        wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(start, start + 50)))
        seconds = look(subject, attempt()).locked or 0.0
        assert seconds == pytest.approx(minutes * MINUTE, abs=20)
        subject.pass_time(seconds + 1)
        assert locked(subject) is None


def test_one_password_from_many_networks_counts_once(subject: Subject) -> None:
    wrong(subject, *(attempt(1, address=elsewhere(n)) for n in range(60)))
    assert locked(subject) is None


def test_account_failures_count_for_a_day(subject: Subject) -> None:
    wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(40)))
    subject.pass_time(DAY - HOUR)
    wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(40, 49)))
    assert locked(subject) is None
    subject.pass_time(2 * HOUR)
    wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(49, 89)))
    assert locked(subject) is None
    wrong(subject, attempt(89, address=elsewhere(89)))
    assert locked(subject) is Scope.ACCOUNT


def test_account_failures_count_under_the_present_hash(subject: Subject) -> None:
    subject.use(account_failures=3)
    wrong(subject, *(attempt(n, address=elsewhere(n)) for n in range(2)))
    wrong(subject, *(attempt(n, address=elsewhere(n), tag="moved") for n in range(2, 4)))
    assert locked(subject, tag="moved") is None
    wrong(subject, attempt(4, address=elsewhere(4), tag="moved"))
    assert (locked(subject, tag="moved"), locked(subject)) == (Scope.ACCOUNT, None)


def test_failures_from_known_networks_lock_nobody_else_out(subject: Subject) -> None:
    subject.use(account_failures=3)
    right(subject)
    wrong(subject, *guesses(4))
    wrong(subject, *guesses(3, address="192.0.2.9"))
    assert locked(subject, address="203.0.113.1") is None
    wrong(subject, *guesses(2, address="203.0.113.1"))
    assert locked(subject, address="203.0.113.2") is None
    wrong(subject, attempt(2, address="203.0.113.2"))
    assert locked(subject, address="203.0.113.3") is Scope.ACCOUNT


# Inside a trust network


def neighbour(n: int) -> str:
    return f"192.0.2.{n}"


def test_guesses_from_new_networks_of_a_known_one_are_bounded_and_hold_no_owner(subject: Subject) -> None:
    right(subject)
    guesses_there = [attempt(n, address=neighbour(2 + n % 200)) for n in range(50)]
    wrong(subject, *guesses_there)
    assert locked(subject, address=neighbour(210)) is Scope.ACCOUNT_TRUST
    assert not charge(subject, attempt(99, address=neighbour(211))).admitted
    assert locked(subject) is None  # where the owner has signed in
    assert locked(subject, account="a:8", address=neighbour(210)) is None
    assert locked(subject, address=elsewhere(1)) is None
    assert locked(subject, tag="changed", address=neighbour(210)) is None
    wrong(subject, *guesses(4))
    right(subject)


def test_the_owners_own_mistakes_do_not_count_for_the_wider_network(subject: Subject) -> None:
    subject.use(account_failures=3, failures=0)
    right(subject)
    wrong(subject, *guesses(3))
    assert locked(subject) is None


def test_a_spray_over_a_wider_network_locks_it_but_for_where_owners_signed_in(subject: Subject) -> None:
    subject.use(network_accounts=2)
    right(subject, account="a:1", address=neighbour(1))
    right(subject, account="a:2", address=neighbour(2))
    sprayed = [attempt(1, account=f"a:{n}", address=neighbour(n)) for n in range(10, 20)]
    wrong(subject, *sprayed[:9])
    assert locked(subject, account="a:1", address=neighbour(200)) is None
    wrong(subject, sprayed[9])
    assert locked(subject, account="a:1", address=neighbour(200)) is Scope.TRUST
    assert locked(subject, account="l:made-up", tag="", address=neighbour(201)) is Scope.TRUST
    assert locked(subject, account="a:1", address=neighbour(1)) is None
    assert locked(subject, account="a:2", address=neighbour(1)) is Scope.TRUST
    assert look(subject, attempt(account="a:1", address=neighbour(1))).network_locked is not None
    assert locked(subject, account="a:1", address=elsewhere(1)) is None


def test_a_burst_from_new_networks_of_a_known_one_is_bounded(subject: Subject) -> None:
    right(subject)
    burst = [deferred(subject.book.charge(attempt(n, address=neighbour(2 + n)))) for n in range(120)]
    charges = [subject.wait(each) for each in burst]
    assert sum(each.admitted for each in charges) == 50
    assert {each.scope for each in charges if not each.admitted} == {Scope.ACCOUNT_TRUST}


def test_many_addresses_of_one_network_push_out_no_other_trust_network(subject: Subject) -> None:
    right(subject, address=elsewhere(1))
    for n in range(KNOWN_NETWORKS + 2):
        subject.pass_time(1.0)
        right(subject, address=neighbour(n))
    assert look(subject, attempt(address=elsewhere(1))).known
    sheets = [look(subject, attempt(address=neighbour(n))) for n in (0, KNOWN_NETWORKS + 1)]
    assert [(each.known, each.exact) for each in sheets] == [(True, False), (True, True)]


def test_a_burst_from_many_networks_is_bounded(subject: Subject) -> None:
    burst = [deferred(subject.book.charge(attempt(n, address=elsewhere(n)))) for n in range(120)]
    charges = [subject.wait(each) for each in burst]
    assert sum(each.admitted for each in charges) == 50
    assert {each.scope for each in charges if not each.admitted} == {Scope.ACCOUNT}


# Network


def test_one_password_sprayed_over_ten_accounts_locks_the_network(subject: Subject) -> None:
    right(subject, account="a:1")
    sprayed = [attempt(1, account=f"a:{n}") for n in range(2, 8)] + [attempt(1, account=f"l:{n}", tag="") for n in range(4)]
    wrong(subject, *sprayed[:9])
    assert locked(subject, account="a:99") is None
    wrong(subject, sprayed[9])
    sheet = look(subject, attempt(account="a:99"))
    assert sheet.scope is Scope.NETWORK
    assert sheet.locked == pytest.approx(5 * MINUTE, abs=20)
    assert locked(subject, account="l:99", tag="") is Scope.NETWORK
    assert locked(subject, account="a:2", tag="changed") is Scope.NETWORK
    assert not charge(subject, attempt(account="a:99")).admitted
    assert locked(subject, account="a:1") is None  # the network is known for it
    right(subject, account="a:1")
    assert locked(subject, account="a:99", address="192.0.2.2") is None


def test_one_account_with_many_passwords_is_one_account(subject: Subject) -> None:
    subject.use(failures=0, account_failures=0)
    wrong(subject, *guesses(30), *(attempt(1, account=f"a:{n}") for n in range(10, 18)))
    assert locked(subject) is None
    wrong(subject, attempt(1, account="a:18"))
    assert locked(subject) is Scope.NETWORK


def test_an_office_of_accounts_that_are_known_there_keeps_working(subject: Subject) -> None:
    for n in range(20):
        right(subject, account=f"a:{n}")
    wrong(subject, *(attempt(1, account=f"a:{n}", tag="changed") for n in range(20)))
    wrong(subject, attempt(1, account="a:99"))
    assert locked(subject, account="a:99") is None


def test_a_success_in_between_does_not_hide_a_spray(subject: Subject) -> None:
    for n in range(10):
        wrong(subject, attempt(1, account=f"a:{n + 100}"))
        if n < 9:
            right(subject, account="a:1")
    assert locked(subject) is Scope.NETWORK


def test_a_spray_in_one_burst_is_bounded(subject: Subject) -> None:
    burst = [deferred(subject.book.charge(attempt(1, account=f"l:{n}", tag=""))) for n in range(50)]
    charges = [subject.wait(each) for each in burst]
    assert sum(each.admitted for each in charges) == 10
    assert {each.scope for each in charges if not each.admitted} == {Scope.NETWORK}


def test_accounts_count_within_the_window(subject: Subject) -> None:
    wrong(subject, *(attempt(1, account=f"a:{n}") for n in range(9)))
    subject.pass_time(16 * MINUTE)
    wrong(subject, *(attempt(1, account=f"a:{n}") for n in range(9, 18)))
    assert locked(subject, account="a:99") is None


# Known networks


def test_a_known_network_survives_a_changed_password_and_is_forgotten_after_trust_for(subject: Subject) -> None:
    assert not look(subject, attempt()).known
    right(subject)
    assert look(subject, attempt(tag="changed", address="192.0.2.77")).known
    assert not look(subject, attempt(address="192.0.3.1")).known
    assert not look(subject, attempt(account="a:8")).known
    subject.pass_time(30 * DAY - MINUTE)
    assert look(subject, attempt()).known
    subject.pass_time(2 * MINUTE)
    assert not look(subject, attempt()).known


def test_a_known_network_is_noted_daily_at_most(subject: Subject) -> None:
    assert look(subject, attempt()).refresh_known
    right(subject)
    subject.pass_time(DAY - MINUTE)
    assert not look(subject, attempt()).to_be_noted
    right(subject)  # notes nothing
    subject.pass_time(2 * MINUTE)
    assert look(subject, attempt()).refresh_known
    right(subject)
    assert not look(subject, attempt()).refresh_known
    subject.pass_time(29 * DAY + 23 * HOUR)
    assert look(subject, attempt()).known


def test_ipv6_networks_are_known_by_the_trust_prefix(subject: Subject) -> None:
    right(subject, address="2001:db8:1:2::1")
    assert look(subject, attempt(address="2001:db8:1:ffff::1")).known
    assert not look(subject, attempt(address="2001:db8:2::1")).known


def test_an_account_is_known_from_the_latest_networks_only(subject: Subject) -> None:
    for n in range(KNOWN_NETWORKS + 2):
        right(subject, address=elsewhere(n))
        subject.pass_time(1.0)
    known = [look(subject, attempt(address=elsewhere(n))).known for n in range(KNOWN_NETWORKS + 2)]
    assert known == [False, False] + [True] * KNOWN_NETWORKS
    right(subject, account="a:8", address=elsewhere(0))
    assert look(subject, attempt(account="a:8", address=elsewhere(0))).known


def test_a_success_without_a_charge_is_noted(subject: Subject) -> None:
    wrong(subject, *guesses(4))
    subject.wait(subject.book.succeed(attempt(), None))
    sheet = look(subject, attempt())
    assert (sheet.known, sheet.has_failures) == (True, False)


# Switches


@pytest.mark.parametrize(
    ("rules", "scope"),
    [
        ({"failures": 0, "network_accounts": 0}, Scope.ACCOUNT),
        ({"account_failures": 0, "network_accounts": 0}, Scope.ACCOUNT_NETWORK),
        ({"failures": 0, "account_failures": 0}, Scope.NETWORK),
        ({"failures": 0, "account_failures": 0, "network_accounts": 0}, None),
        ({"allow": ["192.0.2.0/24"]}, None),
    ],
)
def test_a_count_of_0_is_off_and_allowed_networks_are_never_locked(
    subject: Subject, rules: dict[str, Any], scope: Scope | None
) -> None:
    subject.use(**rules)
    tried = [attempt(n) for n in range(60)] + [attempt(n, account=f"a:{n}") for n in range(60)]
    for one in tried:
        charged = charge(subject, one)
        if charged.admitted:
            subject.wait(subject.book.fail(charged))
    scopes = {look(subject, attempt(account=account)).scope for account in ("a:7", "a:99")}
    assert scopes - {None} == ({scope} if scope else set())


def test_rules_may_be_replaced(subject: Subject) -> None:
    wrong(subject, *guesses(5))
    subject.use(failures=0)
    assert locked(subject) is None
    subject.use(failures=6)
    assert locked(subject) is Scope.ACCOUNT_NETWORK


# Any order of events

NETWORKS = ("192.0.2.1", "192.0.2.2", "198.51.100.1")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["charge", "charge", "charge", "succeed"]),
            st.sampled_from(["a:1", "a:2", "a:3", "l:x"]),
            st.sampled_from(["one", "two"]),
            st.sampled_from(NETWORKS),
            st.integers(0, 5),
        ),
        st.tuples(st.sampled_from(["fail", "fail", "fail", "refund", "succeed charge"]), st.integers(0, 5)),
        # sums of these are at no limit's edge: the real store's clock goes on meanwhile
        st.tuples(st.just("pass"), st.sampled_from([41.0, 307.0, 941.0, 86_507.0])),
    ),
    max_size=40,
)
STRICT = {"failures": 3, "account_failures": 4, "network_accounts": 3}


def story(subject: Subject, steps: Sequence[tuple[Any, ...]]) -> Iterator[object]:
    """What can be seen of each step."""
    subject.use(**STRICT)
    running: list[Charge] = []
    for step, *values in steps:
        if step == "pass":
            subject.pass_time(values[0])
        elif step in ("charge", "succeed"):
            account, tag, address, password = values
            one = attempt(password, account=account, tag=tag, address=address)
            sheet = look(subject, one)
            yield sheet.scope, sheet.known, sheet.has_failures, sheet.refresh_known
            if step == "succeed":
                if sheet.locked is None:
                    subject.wait(subject.book.succeed(one, None))
            else:
                charged = charge(subject, one)
                yield charged.admitted, charged.scope, charged.known
                running += [charged] if charged.admitted else []
        elif running:
            charged = running.pop(values[0] % len(running))
            if step == "succeed charge":
                subject.wait(subject.book.succeed(charged.attempt, charged))
            else:
                subject.wait(subject.book.fail(charged) if step == "fail" else subject.book.refund(charged))


@given(STEPS)
@settings(max_examples=40)
def test_the_fake_tells_the_same_story_as_sqlite(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder, sql_subject(store_url(Path(folder))) as subject:
        assert list(story(subject, steps)) == list(story(FakeSubject(), steps))


@given(STEPS)
@settings(max_examples=20)
def test_the_fake_tells_the_same_story_as_postgresql(postgresql: Postgresql, steps: list[tuple[Any, ...]]) -> None:
    with sql_subject(postgresql_url(postgresql)) as subject:
        assert list(story(subject, steps)) == list(story(FakeSubject(), steps))
