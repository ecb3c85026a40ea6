"""Sign-in as it is wired: credentials of a real store beside a real login table, changed as operators change them."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from gateway import config
from gateway.accounts.credentials import new_password, stored_chosen, stored_random
from gateway.accounts.decision import Place
from gateway.accounts.model import Account, Credentials
from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.share import Share
from gateway.sign_in import SignIn
from gateway.store import credentials, domains
from gateway.store.database import Database
from gateway.store.engine import opened
from gateway.store.sign_ins import recent
from gateway.store.store_clock import StoreClock
from tests.logins import run_sql
from tests.pump import Pump
from tests.stores import running, store_url

SHOP = "shop@brand.example"
PLACE = Place("192.0.2.1/32", "192.0.2.0/24")
TABLE = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE, password_hash, is_active, smtp)"


class World:
    """Account 7 may not use its own password for SMTP; the domain brand.example is its."""

    def __init__(self, folder: Path, url: str, pump: Pump, database: Database) -> None:
        self.folder, self.url, self.pump, self.database = folder, url, pump, database
        run_sql(folder, TABLE)
        run_sql(folder, "INSERT INTO users VALUES (?, ?, ?, ?, ?)", (7, "ann@product.example", "!", 1, 0))
        file = folder / "gateway.toml"
        file.write_text(
            f'[accounts]\nurl = "sqlite:///{folder}/accounts.db"\n[accounts.columns]\nsmtp_enabled = "smtp"\n'
            f'[lockout]\ndelay = "0s"\n[server]\nstate_dir = "{folder}"\n'
        )
        clock = StoreClock(lambda: 0.0)
        clock.read_once(url)
        self.registry = CollectorRegistry()
        self.parts = SignIn(config.load(file, {}), pump, database, clock, Metrics(self.registry), Share())
        self.parts.start()
        self.store(lambda connection: domains.add(connection, "brand.example", "7"))

    def store(self, work: Callable[[Connection], Any]) -> Any:
        """As the command does it, beside the running gateway."""
        with opened(self.url, write=True) as connection:
            return work(connection)

    def create(self, stored: str) -> None:
        self.store(lambda connection: credentials.create(connection, SHOP, stored))

    def sign_in(self, password: str) -> Account | int:
        """The account, or the code of the reply."""
        try:
            asked = Credentials(SHOP, password.encode(), "PLAIN")
            return self.pump.result(self.parts.authenticator.sign_in(asked, PLACE))
        except Refused as refused:
            return refused.reply.code

    def check(self, account: Account) -> Account | int:
        try:
            return self.pump.result(self.parts.authenticator.check_open(account))
        except Refused as refused:
            return refused.reply.code


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    pump, url = Pump(), store_url(tmp_path)
    with running(url, pump) as database:
        world = World(tmp_path, url, pump, database)
        yield world
        pump.result(world.parts.stop())


def test_made_used_reset_and_deleted(world: World) -> None:
    first, second = (new_password(secrets.token_bytes) for _ in range(2))
    assert world.sign_in(first) == 535
    world.create(stored_random(first))
    account = world.sign_in(first)
    assert isinstance(account, Account)
    assert (account.id, account.login) == ("7", SHOP)
    assert world.check(account) == account
    world.store(lambda connection: credentials.reset(connection, SHOP, stored_random(second)))
    assert world.check(account) == 421
    assert world.sign_in(first) == 535
    account = world.sign_in(second)
    assert isinstance(account, Account)
    world.store(lambda connection: credentials.delete(connection, SHOP))
    assert world.check(account) == 421
    assert world.sign_in(second) == 535


def test_a_chosen_password(world: World) -> None:
    world.create(stored_chosen("Grüße aus dem Laden"))
    assert isinstance(world.sign_in("Grüße aus dem Laden"), Account)
    assert world.sign_in("Grüsse aus dem Laden") == 535


def test_the_kind_of_chosen_passwords_is_timed_before_the_first_guess(world: World) -> None:
    """A table whose hashes are quicker would tell such a name by how long its first refusal takes."""

    def timed() -> float:
        world.pump.result(world.parts.learn_hashes())
        return sum(
            sample.value
            for family in world.registry.collect()
            for sample in family.samples
            if sample.name == "smtp_gateway_password_hash_seconds_count"
        )

    world.create(stored_random("a" * 26))
    assert timed() == 0  # nothing to wait for
    world.store(lambda connection: credentials.reset(connection, SHOP, stored_chosen("Grüße aus dem Laden")))
    assert timed() == 1


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE users SET is_active = 0",
        "DELETE FROM users",
        "INSERT INTO users VALUES (8, 'Shop@Brand.example', '!', 1, 1)",
    ],
)
def test_what_the_product_does_counts_at_once(world: World, sql: str) -> None:
    world.create(stored_random("a" * 26))
    account = world.sign_in("a" * 26)
    assert isinstance(account, Account)
    run_sql(world.folder, sql)
    assert world.check(account) == 421
    assert world.sign_in("a" * 26) == 535


def test_a_domain_that_is_removed_takes_its_sessions_along(world: World) -> None:
    world.create(stored_random("a" * 26))
    account = world.sign_in("a" * 26)
    assert isinstance(account, Account)
    assert world.pump.result(world.parts.domains.belongs("brand.example", "7"))
    world.store(lambda connection: domains.remove(connection, "brand.example"))
    assert world.check(account) == 421
    assert not world.pump.result(world.parts.domains.belongs("brand.example", "7"))


def test_last_use_and_history_are_written_down(world: World) -> None:
    world.create(stored_random("a" * 26))
    account = world.sign_in("a" * 26)
    assert isinstance(account, Account)
    assert account.credential is not None
    number = account.credential.id
    assert world.sign_in("wrong") == 535
    world.pump.result(world.parts.flush())
    (listed,) = world.store(credentials.listing)
    assert listed.last_network == PLACE.network
    assert listed.last_used < 20
    history = world.store(lambda connection: recent(connection, f"c:{number}", 10))
    assert {(line.result, line.count) for line in history} == {("ok", 1), ("wrong", 1)}
    assert world.store(lambda connection: recent(connection, "a:7", 10)) == []
