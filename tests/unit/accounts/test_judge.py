"""The road of a sign-in over real hashes, the memo and sheets in memory."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway import reply
from gateway.accounts.authenticator import reply_for
from gateway.accounts.decision import Place, Result, Verdict
from gateway.accounts.lockout import Attempt, Charge
from gateway.accounts.model import Credentials
from gateway.config import Lockout
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from tests.harness import DEMO, DISABLED, LoginTable, PlainHasher
from tests.sign_in import SignIn
from tests.unit.awaiting import value_of

HOME = Place("192.0.2.7/32", "192.0.2.0/24")
AWAY = Place("198.51.100.9/32", "198.51.100.0/24")
RULES = Lockout(failures=3, account_failures=6, network_accounts=4)


class CountingHasher(PlainHasher):
    """As PlainHasher; counts, and may run something while it hashes."""

    def __init__(self) -> None:
        super().__init__()
        self.hashes = 0

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        self.hashes += 1
        await super().burn(secret, subject=subject, network=network)


class World:
    def __init__(self) -> None:
        self.table = LoginTable(DEMO, DISABLED)
        self.hasher = CountingHasher()
        self.parts = SignIn(self.table, self.hasher, Metrics(CollectorRegistry()), Clock(), rules=RULES)

    def decide(self, password: str, login: str = DEMO.login, place: Place = HOME) -> Verdict:
        credentials = Credentials(login, password.encode(), "PLAIN")
        return value_of(Deferred.fromCoroutine(self.parts.judge.decide(credentials, place)))

    def results(self, *passwords: str, login: str = DEMO.login, place: Place = HOME) -> list[str]:
        return [self.decide(password, login, place).result.value for password in passwords]

    def move(self, password: str) -> None:
        self.table.change(DEMO.login, stored=f"stored:{password}")


def test_a_password_once_verified_costs_no_hash() -> None:
    world = World()
    assert world.results("secret", "secret", "secret") == ["ok"] * 3
    assert world.hasher.hashes == 1
    assert world.decide("secret").from_memo


def test_a_moved_hash_is_hashed_again() -> None:
    world = World()
    world.decide("secret")
    world.move("new")
    assert world.results("secret", "new") == ["stale", "ok"]
    assert world.hasher.hashes == 3


def test_a_row_disabled_since_is_refused_from_memory_too() -> None:
    world = World()
    world.decide("secret")
    world.table.change(DEMO.login, active=False)
    assert world.results("secret") == ["disabled"]
    world.table.change(DEMO.login, active=True)
    assert world.results("secret") == ["ok"]
    assert world.hasher.hashes == 1


def test_a_wrong_password_repeated_costs_one_hash_and_counts_once() -> None:
    world = World()
    assert world.results(*["wrong"] * 50) == ["wrong"] + ["repeated"] * 49
    assert world.hasher.hashes == 1
    assert world.results("secret") == ["ok"]


@pytest.mark.parametrize(("password", "results"), [("wrong", ["wrong", "repeated"]), ("secret", ["ok", "ok"])])
def test_the_same_password_hashed_for_another_while_this_one_is_charged(
    monkeypatch: pytest.MonkeyPatch, password: str, results: list[str]
) -> None:
    world = World()
    book, charge, others = world.parts.book, world.parts.book.charge, list[str]()

    async def meanwhile(attempt: Attempt) -> Charge:
        monkeypatch.setattr(book, "charge", charge)
        others.extend(world.results(password))
        return await charge(attempt)

    monkeypatch.setattr(book, "charge", meanwhile)
    assert [*world.results(password), *others] == results[::-1]
    assert world.hasher.hashes == 1
    assert [row.confirmed for row in book.failures.values()] == [True] * (password == "wrong")


def test_an_unknown_login_repeated_costs_one_hash() -> None:
    world = World()
    assert world.results("x", "x", login="nobody@example.com") == ["unknown", "repeated"]
    assert world.hasher.hashes == 1


def test_different_wrong_passwords_lock_this_network_out_and_no_other() -> None:
    world = World()
    assert world.results("a", "b", "c", "secret") == ["wrong", "wrong", "wrong", "locked"]
    assert world.decide("secret").locked > 0
    assert world.results("secret", place=AWAY) == ["ok"]
    assert world.hasher.hashes == 4


def test_unknown_logins_are_locked_alike() -> None:
    world = World()
    assert world.results("a", "b", "c", "d", login="nobody@example.com") == ["unknown"] * 3 + ["locked"]


def test_a_stale_password_from_a_known_network_is_never_counted() -> None:
    world = World()
    world.decide("secret")
    world.move("new")
    assert world.results(*["secret"] * 100) == ["stale"] * 100
    assert world.hasher.hashes == 2
    assert world.parts.book.failures == {}
    assert world.results("a", "b", "new") == ["wrong", "wrong", "ok"]


def test_a_stale_password_from_elsewhere_counts_once() -> None:
    world = World()
    world.decide("secret")
    world.move("new")
    assert world.results("secret", "secret", "secret", "a", "b", "c", place=AWAY) == ["stale"] * 3 + [
        "wrong",
        "wrong",
        "locked",
    ]


def test_guessers_elsewhere_lock_unknown_networks_out_and_not_the_known_one() -> None:
    world = World()
    world.decide("secret")
    for n in range(6):
        world.results(f"guess{n}", place=Place(f"203.0.113.{n}/32", f"203.0.{n}.0/24"))
    assert world.results("secret", place=AWAY) == ["locked"]
    assert world.results("secret") == ["ok"]


def test_a_changed_password_ends_a_lock() -> None:
    world = World()
    world.results("a", "b", "c")
    assert world.results("secret") == ["locked"]
    world.move("new")
    assert world.results("new") == ["ok"]


def test_spraying_locks_the_network_but_not_for_accounts_it_is_known_for() -> None:
    world = World()
    world.decide("secret")
    for n in range(4):
        world.results("Summer2026", login=f"person{n}@example.com")
    assert world.results("Summer2026", login="person9@example.com") == ["locked"]
    assert world.results("secret") == ["ok"]


def test_what_could_not_be_judged_is_refunded() -> None:
    world = World()
    world.hasher.busy = True
    assert world.results("a", "b", "c", "d") == ["busy"] * 4
    world.hasher.busy = False
    assert world.results("secret") == ["ok"]


def test_the_right_password_of_a_disabled_account_counts_like_a_wrong_one() -> None:
    """What is left of the limit afterwards would tell that it is right."""
    world = World()
    assert world.results("a", "secret", "secret", "b", "c", login=DISABLED.login) == [
        "wrong",
        "disabled",
        "disabled",
        "wrong",
        "locked",
    ]


def test_the_store_away_is_not_a_wrong_password() -> None:
    world = World()
    world.parts.book.fail_with = Unavailable("away")
    assert world.results("secret", "wrong") == ["unavailable", "unavailable"]
    assert world.hasher.hashes == 0


def test_another_account_that_took_the_login_has_a_memo_of_its_own() -> None:
    world = World()
    world.decide("secret")
    world.table.rows[DEMO.login] = replace(DEMO, id="99")
    verdict = world.decide("secret")
    assert (verdict.result, verdict.row and verdict.row.id) == (Result.OK, "99")
    assert world.hasher.hashes == 2


def test_success_clears_only_the_sheet_of_its_network() -> None:
    world = World()
    assert world.results("a", "b", place=AWAY) == ["wrong", "wrong"]
    assert world.results("c", "d", "secret", "e", "f") == ["wrong", "wrong", "ok", "wrong", "wrong"]
    assert world.results("g", "h", place=AWAY) == ["wrong", "locked"]


def test_a_row_of_another_table_spelling_is_one_sheet() -> None:
    world = World()
    world.results("a", login="Demo@Example.com")
    world.results("b", login="DEMO@example.com")
    assert world.results("c", "secret") == ["wrong", "locked"]


NEIGHBOUR = Place("192.0.2.9/32", "192.0.2.0/24")


def lock_the_network(world: World, place: Place) -> float:
    """Made-up logins until the network is locked; the seconds that it says."""
    for n in range(RULES.network_accounts):
        assert world.decide("guess", f"nobody{n}@example.com", place).result is Result.UNKNOWN
    verdict = world.decide("guess", "somebody@example.com", place)
    assert verdict.result is Result.LOCKED
    return verdict.locked


@pytest.mark.parametrize("place", [HOME, NEIGHBOUR], ids=["where she signed in", "beside it"])
def test_a_locked_network_hears_of_its_lock_alone(place: Place) -> None:
    world = World()
    assert world.results("secret") == ["ok"]
    locked = lock_the_network(world, place)
    for password in ("wrong", "wrong", "other", "third", "fourth"):
        verdict = world.decide(password, place=place)
        assert verdict.locked == locked
        assert reply_for(verdict) == reply.locked(locked)
    assert reply_for(world.decide("secret", DISABLED.login, place)) == reply.locked(locked)


def test_an_owner_signs_in_from_a_locked_network_where_she_is_known() -> None:
    world = World()
    assert world.results("secret") == ["ok"]
    locked = lock_the_network(world, NEIGHBOUR)
    assert world.results("secret", place=NEIGHBOUR) == ["ok"]
    assert world.results("secret", place=HOME) == ["ok"]
    world.move("new")
    stale = world.decide("secret", place=NEIGHBOUR)
    assert (stale.result, stale.locked) == (Result.STALE, locked)


def test_an_answer_that_cannot_be_given_is_the_locks_as_well() -> None:
    world = World()
    assert world.results("secret") == ["ok"]
    locked = lock_the_network(world, NEIGHBOUR)
    world.hasher.busy = True
    busy = world.decide("other", place=NEIGHBOUR)
    assert (busy.result, busy.locked) == (Result.BUSY, locked)
