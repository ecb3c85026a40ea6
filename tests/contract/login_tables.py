"""A login table in any of the databases, and its reader, for the suites about both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.config import Accounts
from gateway.metrics import Metrics
from gateway.store.directory import SqlDirectory
from gateway.store.inspect import inspect_accounts
from tests.pump import Pump
from tests.servers.databases import Database

HASH = "$2b$04$" + "a" * 53
LOGIN = {
    "sqlite": "VARCHAR(254) COLLATE NOCASE",
    "postgresql": "VARCHAR(254)",
    "mysql": "VARCHAR(254) COLLATE utf8mb4_unicode_ci",
}


def settings(database: Database, **given: Any) -> Accounts:
    return Accounts.model_validate({"url": database.url, **given})


@contextmanager
def reading(database: Database, pump: Pump, aliases: str = "", **given: Any) -> Iterator[SqlDirectory]:
    directory = SqlDirectory(
        settings(database, **given), aliases=aliases, reactor=pump, metrics=Metrics(CollectorRegistry()), clock=lambda: 0.0
    )
    directory.start()
    try:
        yield directory
    finally:
        pump.result(directory.stop())


def make_users(database: Database, *logins: str, login: str = "", table: str = "users") -> None:
    kind = login or LOGIN[database.kind]
    database.run(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, email {kind}, password_hash VARCHAR(255), is_active BOOLEAN)")
    fill(database, *logins, table=table)


def fill(database: Database, *logins: str, table: str = "users") -> None:
    rows: list[dict[str, object]] = [{"id": n, "email": login, "hash": HASH} for n, login in enumerate(logins, 1)]
    if rows:
        database.run(f"INSERT INTO {table} VALUES (:id, :email, :hash, TRUE)", *rows)


def findings(database: Database, **given: Any) -> dict[str, tuple[str, str]]:
    return {one.key: (one.level, one.text) for one in inspect_accounts(settings(database, **given))}


def index_level(database: Database, **given: Any) -> str:
    return findings(database, **given)["accounts.columns.login"][0]
