"""A migrated store of the test's own, on SQLite in its folder or on PostgreSQL, with a pump as its reactor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.metrics import Metrics
from gateway.store.database import Database
from gateway.store.migrate import migrate
from tests.pump import Pump
from tests.servers.databases import Postgresql

KINDS = ("sqlite", "postgresql")
_TEMPLATE = "migrated_store"


def store_url(folder: Path) -> str:
    url = f"sqlite:///{folder}/gateway.db"
    migrate(url)
    return url


def postgresql_url(server: Postgresql) -> str:
    """A store in a new database, copied from one that was migrated once."""
    if not server.admin(f"SELECT 1 FROM pg_database WHERE datname = '{_TEMPLATE}'"):
        made = server.database()
        migrate(made.url)
        server.admin(f"ALTER DATABASE {made.name} RENAME TO {_TEMPLATE}")
    return server.database(f"TEMPLATE {_TEMPLATE}").url


def url_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """A store of `kind`; the server of PostgreSQL is only started for a test that wants it."""
    return store_url(folder) if kind == "sqlite" else postgresql_url(request.getfixturevalue("postgresql"))


LATIN1 = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"  # of a database of PostgreSQL


def latin1_url(server: Postgresql) -> str:
    """A store in a database that cannot hold every letter."""
    url = server.database(LATIN1).url
    migrate(url)
    return url


@contextmanager
def running(url: str, pump: Pump, metrics: Metrics | None = None) -> Iterator[Database]:
    database = Database(url, reactor=pump, metrics=metrics or Metrics(CollectorRegistry()), clock=lambda: 0.0)
    database.start()
    try:
        yield database
    finally:
        pump.result(database.stop())
