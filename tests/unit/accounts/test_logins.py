"""Whom a login stands for: an account first, an SMTP user of a domain where there is none."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from gateway.accounts.logins import Logins
from gateway.accounts.model import Credential, LoginRow
from gateway.errors import Unavailable
from tests.fakes import FakeCredentialBook
from tests.harness import LoginTable
from tests.unit.awaiting import failure_of, value_of

ANN = LoginRow("7", "ann@product.example", "stored:ann", max_message_size=5000, daily_recipients=20)
SHOP = "shop@brand.example"


class World:
    def __init__(self, *rows: LoginRow) -> None:
        self.table = LoginTable(*(rows or (ANN,)))
        self.book = FakeCredentialBook()
        self.book.domains.owners = {"brand.example": "7", "xn--bcher-kva.example": "7"}
        self.book.create(SHOP, "stored:shop")
        self.logins = Logins(self.table, self.table, self.book)

    def find(self, login: str) -> LoginRow | None:
        return value_of(Deferred.fromCoroutine(self.logins.find(login)))


def test_a_credential_has_its_own_password_and_its_account_s_limits() -> None:
    credential = Credential(1, SHOP, "brand.example", "7", "stored:shop")
    assert World().find(SHOP) == replace(ANN, login=SHOP, stored="stored:shop", credential=credential)


def test_an_account_is_found_without_the_store() -> None:
    world = World()
    world.book.fail_with = Unavailable("away")
    assert world.find("ann@product.example") == ANN
    assert world.book.asked == []


def test_a_login_that_may_be_a_credential_needs_the_store() -> None:
    world = World()
    world.book.fail_with = Unavailable("away")
    for login in (SHOP, "nobody@brand.example"):
        failure_of(Deferred.fromCoroutine(world.logins.find(login)), Unavailable)


@pytest.mark.parametrize(
    "login", ["", "shop", "@brand.example", "shop@", "a b@brand.example", "shop@brand..example", "=?x?=@b.c"]
)
def test_what_is_no_address_is_no_credential(login: str) -> None:
    world = World()
    assert world.find(login) is None
    assert world.book.asked == []


@pytest.mark.parametrize("login", ["SHOP@Brand.Example", '"shop"@brand.example'])
def test_in_any_spelling_of_its_address(login: str) -> None:
    row = World().find(login)
    assert row is not None
    assert row.login == SHOP


def test_a_login_of_the_same_name_wins_whichever_came_first() -> None:
    world = World()
    same = LoginRow("9", SHOP, "stored:theirs")
    world.table.rows[SHOP] = same
    assert world.find(SHOP) == same
    del world.table.rows[SHOP]
    row = world.find(SHOP)
    assert row is not None
    assert row.credential is not None


def test_a_login_wins_though_it_was_typed_in_a_spelling_that_only_the_credential_knows() -> None:
    world = World(ANN, LoginRow("9", "shop@xn--bcher-kva.example", "stored:theirs"))
    world.book.create("shop@xn--bcher-kva.example", "stored:shop")
    assert world.find("shop@bücher.example") is None
    del world.table.rows["shop@xn--bcher-kva.example"]
    row = world.find("shop@bücher.example")
    assert row is not None
    assert row.login == "shop@xn--bcher-kva.example"


def test_without_its_account_a_credential_is_nobody() -> None:
    world = World(LoginRow("8", "bob@product.example", "stored:bob"))
    assert world.find(SHOP) is None


def test_a_disabled_account_disables_it_and_one_that_is_web_only_does_not() -> None:
    for active, smtp_enabled, wanted in ((False, True, False), (True, False, True), (False, False, False), (True, True, True)):
        row = World(replace(ANN, active=active, smtp_enabled=smtp_enabled)).find(SHOP)
        assert row is not None
        assert row.may_sign_in is wanted
