"""What every process of a gateway opens: the store and what is kept in it, the spool, sign-in, the metrics."""

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway import maillog
from gateway.config import Config
from gateway.errors import ConfigError, NoThreads, Unavailable
from gateway.metrics import Metrics
from gateway.share import Share
from gateway.sign_in import SignIn
from gateway.store.database import Database
from gateway.store.migrate import check_schema
from gateway.store.processes import BEAT_EVERY
from gateway.store.sharing import bodies_in, is_shared, outbox_in
from gateway.store.store_clock import StoreClock
from gateway.store.turn import Turn
from gateway.store.usage import SqlLedger
from gateway.upkeep import Upkeep, attempt

CLOCK_EVERY = 15.0  # seconds between two looks at the store's clock
NOTES_EVERY = 5.0  # seconds that sign-ins and refusals are counted in memory before they are written down
DISK_THREADS = 4
LEAVE_PATIENCE = 5.0  # seconds that a statement may be under way when we stop
# Seconds that no step of the wall clock changes, and that go on while the machine sleeps, where its system counts them: a lease
# that ran out in the machine's sleep must look as old as it is; time.monotonic stands still there.
STEADY = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
SIGN_INS, REFUSALS = "writing down sign-ins", "writing down refusals"


class Stores:
    """`settings` are those in effect: a reload replaces them. The constructor raises ConfigError and starts nothing."""

    def __init__(self, settings: Config, reactor: Any, share: Share) -> None:
        reactor.seconds = STEADY  # a step of the wall clock must not fire every timer
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
        self._disk = ThreadPool(DISK_THREADS, DISK_THREADS, "disk")  # all from the start: later there may be none to have
        self._shared = is_shared(store_url)
        turn = Turn(state_dir) if share.of > 1 and not self._shared else None
        self.database = Database(store_url, reactor=reactor, metrics=self.metrics, clock=STEADY, turn=turn)
        self.sign_in = SignIn(settings, reactor, self.database, self.clock, self.metrics, share)
        self.ledger = SqlLedger(self.database, self.clock.now)
        self.outbox = outbox_in(self.database, store_url, state_dir, secrets.token_bytes, share.worker)
        self.bodies = bodies_in(self.database, store_url, self._in_spool)
        self._upkeep = Upkeep(reactor)
        self._cut = False  # a database was given up on

    def on_disk(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run it in a thread for the disk."""
        return deferToThreadPool(self._reactor, self._disk, function, *arguments)

    def _in_spool(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return self.on_disk(function, *arguments).addErrback(self._count_failure)

    def _count_failure(self, failure: Failure) -> Failure:
        self.metrics.store_errors_total.inc()
        return failure

    def start(self) -> None:
        """Raises NoThreads; those that have begun by then go on, and keep the process from an end other than os._exit."""
        try:
            self._disk.start()
            self.database.start()
            self.sign_in.start()
        except RuntimeError as error:  # of Thread.start, in Twisted's pools
            raise NoThreads(f"{error}: raise TasksMax of the unit, or ulimit -u of its user") from None

    async def register(self) -> None:
        """Begin our life in the queue, and what is done again and again from then on. Raises Unavailable."""
        await self.outbox.register()
        every = self._upkeep.every
        every(CLOCK_EVERY, "reading the store's clock", self._look_at_clock)
        every(NOTES_EVERY, SIGN_INS, self.sign_in.flush)
        every(NOTES_EVERY, REFUSALS, self.ledger.flush)
        if self._shared:
            every(BEAT_EVERY, "telling the others that this gateway lives", self.outbox.processes.beat)

    async def _look_at_clock(self) -> None:
        await self.clock.look(self.database)

    def leave(self) -> None:
        """We stop: from now on a database that hangs is given up on, so that it does not keep us from ending in order.

        One that answers is waited for as long as there is something to do.
        """
        self._upkeep.every(1.0, "leaving", self._cut_what_hangs)

    async def _cut_what_hangs(self) -> None:
        for each in (self.database, self.sign_in.directory):
            if each.hangs(LEAVE_PATIENCE):
                each.cut()
                if not self._cut:
                    self._cut = True
                    maillog.cut_at_stop()

    async def stop(self) -> None:
        """Write down what was counted in memory, and close everything."""
        await attempt(SIGN_INS, self.sign_in.flush)
        await attempt(REFUSALS, self.ledger.flush)
        await self.sign_in.stop()
        await self.database.stop()
        self._upkeep.stop()
        self._disk.stop()
