"""What every process of a gateway opens: the store and what is kept in it, the spool, sign-in, the metrics."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from gateway.config import Config
from gateway.errors import ConfigError, Unavailable
from gateway.metrics import Metrics
from gateway.queue.spool import Spool
from gateway.share import Share
from gateway.sign_in import SignIn
from gateway.store.database import Database
from gateway.store.engine import parse_url
from gateway.store.lockfile import is_held
from gateway.store.migrate import check_schema
from gateway.store.outbox import SqlOutbox
from gateway.store.store_clock import StoreClock
from gateway.store.turn import Turn
from gateway.store.usage import SqlLedger
from gateway.upkeep import attempt

DISK_THREADS = 4
SIGN_INS, REFUSALS = "writing down sign-ins", "writing down refusals"


class Stores:
    """`settings` are those in effect: a reload replaces them. The constructor raises ConfigError and starts nothing."""

    def __init__(self, settings: Config, reactor: Any, share: Share) -> None:
        reactor.seconds = time.monotonic  # a step of the wall clock must not fire every timer
        self.settings = settings
        self.share = share
        self._reactor = reactor
        store_url, state_dir = settings.store.url.get_secret_value(), settings.server.state_dir
        check_schema(store_url)
        self.clock = StoreClock(time.monotonic)
        try:
            self.clock.read_once(store_url)
        except Unavailable as away:
            raise ConfigError([f"store.url: cannot be read: {away}"]) from None
        self.metrics = Metrics(CollectorRegistry())
        self._disk = ThreadPool(1, DISK_THREADS, "disk")
        turn = Turn(state_dir) if share.of > 1 and parse_url(store_url, "store.url").get_backend_name() == "sqlite" else None
        self.database = Database(store_url, reactor=reactor, metrics=self.metrics, clock=time.monotonic, turn=turn)
        self.sign_in = SignIn(settings, reactor, self.database, self.clock, self.metrics, share)
        self.ledger = SqlLedger(self.database, self.clock.now)
        self.outbox = SqlOutbox(self.database, str(state_dir), lambda other: is_held(Path(other)), share.worker)
        self.spool = Spool(state_dir / "spool", self.on_disk)
        self.spool.prepare()

    def on_disk(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run it in a thread for the disk."""
        return deferToThreadPool(self._reactor, self._disk, function, *arguments)

    def start(self) -> None:
        self._disk.start()
        self.database.start()
        self.sign_in.start()

    async def look_at_clock(self) -> None:
        await self.clock.look(self.database)

    async def stop(self) -> None:
        """Write down what was counted in memory, and close everything."""
        await attempt(SIGN_INS, self.sign_in.flush)
        await attempt(REFUSALS, self.ledger.flush)
        await self.sign_in.stop()
        await self.database.stop()
        self._disk.stop()
