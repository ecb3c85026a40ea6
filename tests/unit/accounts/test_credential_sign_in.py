"""SMTP users of domains sign in: with a password, sheets and a history of their own, while all they depend on stays."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway import address, reply
from gateway.accounts import schemes
from gateway.accounts.credentials import stored_random
from gateway.accounts.decision import Place, Verdict
from gateway.accounts.model import Account, Credentials, LoginRow
from gateway.config import Lockout
from gateway.errors import Refused, Unavailable
from gateway.metrics import Metrics
from tests.harness import DEMO, LoginTable, PlainHasher
from tests.sign_in import SignIn
from tests.unit.awaiting import assert_pending, failure_of, value_of

HOME = Place("192.0.2.7/32", "192.0.2.0/24")
SHOP = "shop@brand.example"
RANDOM = "k3v9m2q8x7w4t6r5p2n8b7c4d3"
WEB = replace(DEMO, id="20", login="web@product.example", smtp_enabled=False, max_message_size=5000)


class CountingHasher(PlainHasher):
    """As PlainHasher, and real hashes of any other form."""

    def __init__(self) -> None:
        super().__init__()
        self.hashes = 0

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        fits = await super().verify(secret, stored, subject=subject, network=network, known=known)
        return fits if stored.startswith("stored:") else schemes.verify(secret, stored)

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        self.hashes += 1
        await super().burn(secret, subject=subject, network=network)


class World:
    """Account 20, which may not use its own password for SMTP, has a domain with the credential SHOP."""

    def __init__(self, stored: str = "") -> None:
        self.table = LoginTable(DEMO, WEB)
        self.hasher = CountingHasher()
        self.clock = Clock()
        self.registry = CollectorRegistry()
        rules = Lockout(failures=3, account_failures=6, network_accounts=0)
        self.parts = SignIn(self.table, self.hasher, Metrics(self.registry), self.clock, rules=rules)
        self.book = self.parts.credentials
        self.book.domains.owners["brand.example"] = WEB.id
        self.book.create(SHOP, stored or stored_random(RANDOM))

    def decide(self, password: str, login: str = SHOP) -> Verdict:
        credentials = Credentials(login, password.encode(), "PLAIN")
        return value_of(Deferred.fromCoroutine(self.parts.judge.decide(credentials, HOME)))

    def results(self, *passwords: str, login: str = SHOP) -> list[str]:
        return [self.decide(password, login).result.value for password in passwords]

    def begin(self, password: str = RANDOM, login: str = SHOP) -> Deferred[Account]:
        credentials = Credentials(login, password.encode(), "PLAIN")
        return Deferred.fromCoroutine(self.parts.authenticator.sign_in(credentials, HOME))

    def check(self, account: Account) -> Deferred[Account]:
        return Deferred.fromCoroutine(self.parts.authenticator.check_open(account))

    def cut(self) -> dict[str, float]:
        """Sessions ended, by reason."""
        name = "smtp_gateway_sessions_cut_total"
        found = {why: self.registry.get_sample_value(name, {"reason": why}) for why in ("deleted", "password", "disabled")}
        return {why: count for why, count in found.items() if count}


def refused(waiting: Deferred[Any]) -> reply.Reply:
    return failure_of(waiting, Refused).reply


def test_right() -> None:
    world = World()
    account = value_of(world.begin())
    assert (account.id, account.login, account.message_size) == (WEB.id, SHOP, 5000)
    assert [account.owns(address.parse(sender)) for sender in (SHOP, "x@brand.example", WEB.login, DEMO.login)] == [
        True,
        True,
        False,
        False,
    ]
    assert world.book.uses == [(SHOP, HOME.network)]
    assert world.hasher.hashes == 0
    assert value_of(world.check(account)) == account


def test_a_chosen_password_is_hashed_once() -> None:
    world = World("stored:chosen-one")
    assert world.results("chosen-one", "chosen-one", "wrong") == ["ok", "ok", "wrong"]
    assert world.hasher.hashes == 2


@pytest.mark.parametrize(
    ("login", "password", "result"),
    [
        (SHOP, RANDOM, "ok"),
        ("SHOP@Brand.example", RANDOM, "ok"),
        (SHOP, RANDOM.upper(), "wrong"),
        (SHOP, "secret", "wrong"),  # the account's own password
        (SHOP, stored_random(RANDOM), "wrong"),
        (SHOP, "", "wrong"),
        (WEB.login, RANDOM, "wrong"),
        (WEB.login, "secret", "disabled"),
        ("other@brand.example", RANDOM, "unknown"),
        ("shop@other.example", RANDOM, "unknown"),
    ],
)
def test_which_password_fits_which_login(login: str, password: str, result: str) -> None:
    world = World()
    assert world.results(password, login=login) == [result]
    assert world.hasher.hashes == (0 if result == "ok" else 1)  # refusing costs the same for all


def test_who_is_refused_hears_the_same_after_the_same_time() -> None:
    world = World()
    world.parts.authenticator.delay, world.hasher.slowest = 0.1, 0.3
    for login, password in ((SHOP, "wrong"), ("nobody@brand.example", RANDOM), (WEB.login, "wrong")):
        waiting = world.begin(password, login)
        world.clock.advance(0.29)
        assert_pending(waiting)
        world.clock.advance(0.01)
        assert refused(waiting) == reply.WRONG_LOGIN
    assert world.book.uses == []


def test_when_the_hash_threads_are_full_a_wrong_password_for_it_is_told_so_like_all_others() -> None:
    world = World()
    world.hasher.busy = True
    assert world.results("wrong") == ["busy"]
    assert world.results("wrong", login="nobody@brand.example") == ["busy"]
    assert world.results(RANDOM) == ["ok"]


def test_of_a_disabled_account() -> None:
    world = World()
    world.table.change(WEB.login, active=False)
    assert world.results(RANDOM, RANDOM, "wrong") == ["disabled", "disabled", "wrong"]
    assert world.hasher.hashes == 2
    assert refused(world.begin()) == reply.WRONG_LOGIN
    assert world.book.uses == []


def test_of_an_account_that_is_gone() -> None:
    world = World()
    del world.table.rows[WEB.login]
    assert world.results(RANDOM) == ["unknown"]


@pytest.mark.parametrize("away", ["store", "table"])
def test_what_it_depends_on_is_away(away: str) -> None:
    world = World()
    account = value_of(world.begin())
    if away == "store":
        world.book.fail_with = Unavailable("away")
    else:
        world.table.away = True
    assert refused(world.begin()) == reply.AUTH_UNAVAILABLE
    assert refused(world.check(account)) == reply.SERVICE_ERROR
    assert world.cut() == {}


def test_an_account_signs_in_while_credentials_cannot_be_read() -> None:
    world = World()
    world.book.fail_with = Unavailable("away")
    account = value_of(world.begin("secret", DEMO.login))
    assert value_of(world.check(account)) == account


def test_a_login_of_the_same_name_wins() -> None:
    world = World()
    world.table.rows[SHOP] = LoginRow("31", SHOP, "stored:theirs")
    assert world.results(RANDOM, "theirs") == ["wrong", "ok"]


def reset(world: World) -> None:
    world.book.reset(SHOP, stored_random("another"))


def delete(world: World) -> None:
    world.book.delete(SHOP)


def make_again(world: World) -> None:
    world.book.delete(SHOP)
    world.book.create(SHOP, stored_random(RANDOM))


def remove_domain(world: World) -> None:
    del world.book.domains.owners["brand.example"]


def move_domain(world: World) -> None:
    world.book.domains.owners["brand.example"] = DEMO.id


def disable(world: World) -> None:
    world.table.change(WEB.login, active=False)


def delete_account(world: World) -> None:
    del world.table.rows[WEB.login]


def login_appears(world: World) -> None:
    world.table.rows[SHOP] = LoginRow("31", SHOP, "stored:theirs")


def login_of_the_same_account_appears(world: World) -> None:
    world.table.rows[SHOP] = replace(WEB, login=SHOP, stored=stored_random(RANDOM), smtp_enabled=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (reset, "password"),
        (delete, "deleted"),
        (make_again, "deleted"),
        (remove_domain, "deleted"),
        (move_domain, "deleted"),
        (disable, "disabled"),
        (delete_account, "deleted"),
        (login_appears, "deleted"),
        (login_of_the_same_account_appears, "deleted"),
    ],
)
def test_what_ends_an_open_session(change: Any, reason: str) -> None:
    world = World()
    account = value_of(world.begin())
    change(world)
    with capture_logs() as lines:
        assert refused(world.check(account)) == reply.NO_LONGER_VALID
    assert world.cut() == {reason: 1}
    assert [(line["account"], line["credential"]) for line in lines] == [(WEB.id, 1)]


@pytest.mark.parametrize("change", [reset, delete, remove_domain, disable, delete_account, login_appears])
def test_the_password_of_before_is_of_no_use_though_it_was_right_a_moment_ago(change: Any) -> None:
    world = World()
    assert world.results(RANDOM) == ["ok"]
    change(world)
    assert world.results(RANDOM) != ["ok"]


def test_what_does_not_end_an_open_session() -> None:
    world = World()
    account = value_of(world.begin())
    world.table.change(WEB.login, stored="stored:new", max_message_size=400)  # the account's own password is none of its
    world.book.create("other@brand.example", stored_random("other"))
    assert value_of(world.check(account)).message_size == 400


def test_a_session_of_the_account_ends_when_only_a_credential_of_that_name_is_left() -> None:
    world = World()
    world.table.rows[SHOP] = replace(WEB, login=SHOP, smtp_enabled=True)
    account = value_of(world.begin("secret"))
    del world.table.rows[SHOP]
    assert refused(world.check(account)) == reply.NO_LONGER_VALID


def test_a_row_of_the_table_in_our_own_stored_form_lets_nobody_in() -> None:
    """Nor is it a wrong password: `doctor` and the log name a hash of an unknown kind."""
    world = World()
    world.table.change(DEMO.login, stored=stored_random(RANDOM))
    with capture_logs() as lines:
        assert refused(world.begin(RANDOM, DEMO.login)) == reply.AUTH_UNAVAILABLE
    assert "unknown kind" in lines[0]["reason"]


def test_guessing_at_it_locks_neither_the_account_nor_another_credential() -> None:
    world = World()
    world.table.change(WEB.login, smtp_enabled=True)
    world.book.create("other@brand.example", stored_random("other"))
    assert world.results("a", "b", "c", RANDOM) == ["wrong", "wrong", "wrong", "locked"]
    assert world.results("secret", login=WEB.login) == ["ok"]
    assert world.results("other", login="other@brand.example") == ["ok"]


def test_guessing_at_the_account_does_not_lock_its_credentials() -> None:
    world = World()
    assert world.results("a", "b", "c", "secret", login=WEB.login) == ["wrong", "wrong", "wrong", "locked"]
    assert world.results(RANDOM) == ["ok"]


def test_a_reset_ends_its_lock() -> None:
    world = World()
    assert world.results("a", "b", "c", RANDOM) == ["wrong", "wrong", "wrong", "locked"]
    world.book.reset(SHOP, stored_random("another"))
    assert world.results("another") == ["ok"]


def test_its_history_and_its_log_lines_are_its_own() -> None:
    world = World()
    with capture_logs() as lines:
        world.begin()
        world.begin("wrong").addErrback(lambda _: None)
        world.begin("secret", DEMO.login)
    noted = [(subject, result) for subject, _, _, result in world.parts.history.noted]
    assert noted == [("c:1", "ok"), ("c:1", "wrong"), (f"a:{DEMO.id}", "ok")]
    assert [(line["account"], line.get("credential")) for line in lines] == [(WEB.id, 1), (WEB.id, 1), (DEMO.id, None)]
    for secret in (RANDOM, SHOP, "sha256"):
        assert secret not in repr(lines)


def test_it_asks_for_no_aliases() -> None:
    world = World()
    del world.table.sender_aliases  # whoever asks fails
    account = value_of(world.begin())
    assert account.addresses == value_of(world.check(account)).addresses == frozenset()
