"""A migrated store in a folder of the test's own, with a pump as its reactor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway.metrics import Metrics
from gateway.store.database import Database
from gateway.store.migrate import migrate
from tests.pump import Pump


def store_url(folder: Path) -> str:
    url = f"sqlite:///{folder}/gateway.db"
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
