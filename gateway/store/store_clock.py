"""The store's clock: what "now" means for dates, so that processes and machines agree on it.

Between two looks at the store it goes on by a monotonic clock, so a step of this machine's wall clock moves no date.
"""

from collections.abc import Callable

from sqlalchemy import select

from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.engine import opened


class StoreClock:
    """`monotonic` gives seconds from any zero. `read_once` or `look` comes before `now`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._monotonic() + self._offset

    def read_once(self, url: str) -> None:
        """Set the clock before there is a Database. Blocks: for the start only. Raises Unavailable, ConfigError."""
        with opened(url, write=False) as connection:
            self._offset = float(connection.execute(select(now())).scalar_one()) - self._monotonic()

    async def look(self, database: Database) -> None:
        """Set the clock by the store. Raises Unavailable."""
        before = self._monotonic()
        epoch = await database.read(lambda connection: float(connection.execute(select(now())).scalar_one()))
        self._offset = epoch - (before + self._monotonic()) / 2
