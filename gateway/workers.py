"""Serving through workers: what a parent does instead of taking mail in itself.

It has bound the ports and never reads from them; its workers inherit them, the lock of the state directory and the memory
where open sessions are counted.
"""

import math
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port

from gateway.config import Config, Listen
from gateway.edge.tally import KEY_OCTETS, Tally, shared_memory
from gateway.edge.tls import ServerTls
from gateway.hops import next_hops
from gateway.orders import ANSWERS, FIGURES, FIRST_PORT, LISTENING, LOCK, ORDERS, TALLY, Begin, Order, Reload, Report
from gateway.share import Share
from gateway.stores import Stores
from gateway.supervisor import Supervisor, WorkerProcess
from gateway.upkeep import attempt
from gateway.web.totals import Totals

PROGRAM = ("-P", "-m", "gateway.worker")  # -P: nothing is imported from the working directory


class NoWorkers(Exception):
    """Each worker has ended, and none of them has ever listened."""


class Workers:
    """`count` workers. `lock` is the descriptor that holds the state directory; `log_file` is "" for standard output.

    The constructor checks what the workers will need, raises ConfigError, and starts nothing.
    """

    def __init__(self, count: int, stores: Stores, reactor: Any, *, lock: int, log_file: str) -> None:
        self._count = count
        self._stores = stores
        self._reactor = reactor
        self._lock = lock
        self._log_file = log_file
        self._key = secrets.token_bytes(KEY_OCTETS)
        self._memory = shared_memory(count + 1)
        self._tally = Tally(self._memory, count + 1, 0, self._key)
        self._tls = ServerTls(stores.settings, stores.clock.now)  # makes a self-signed one before the workers all would
        next_hops(stores.settings, stores, reactor)
        stores.metrics.certificate_expiry.set(math.inf)  # the workers have certificates in use, we do not
        self.totals = Totals(stores.metrics.registry)
        self._ports: Sequence[Port] = ()
        self._listening: set[int] = set()
        self._to_come = set(range(1, count + 1))
        self._all_came: Deferred[None] = Deferred()
        self._ended: set[int] = set()  # at least once, while none has ever listened
        self._supervisor = Supervisor(count, self._spawn, reactor, self)

    # What the service calls

    @property
    def self_signed(self) -> bool:
        return self._tls.is_self_signed

    @property
    def listening(self) -> bool:
        """One that is started again leaves the others to listen."""
        return bool(self._listening)

    def factory(self, listen: Listen) -> Factory:
        """For a port that is never read from here."""
        factory = Factory()
        factory.noisy = False
        return factory

    async def begin(self, ports: Sequence[Port]) -> None:
        """Start the workers; returns when each has listened once. Raises NoWorkers when every one ends before any has."""
        self._ports = ports
        self._supervisor.start()
        await self._all_came

    async def reload(self, new: Config) -> None:
        """Check the settings for all, and hand them on; returns when all have taken them. Raises ConfigError."""
        next_hops(new, self._stores, self._reactor)
        self._tls.load(new)
        self._stores.settings = new
        self._stores.sign_in.reload(new)
        await self._supervisor.ask(Reload(new))

    async def refresh(self) -> None:
        """Bring `totals` up to date, as far as workers answer."""
        await self._supervisor.ask(Report())

    async def stop(self) -> None:
        self._listening.clear()
        await self._supervisor.stop()

    # What the supervisor calls

    def begin_order(self, worker: int) -> Order:
        """See `gateway.supervisor.Watch`, as for all that follows."""
        return Begin(self._stores.settings, Share(worker, self._count), self._key, self._log_file)

    def said(self, worker: int, what: Mapping[str, Any]) -> None:
        if FIGURES in what:
            self.totals.heard(worker, what[FIGURES])
        if LISTENING in what:
            self._listening.add(worker)
            self._ended.clear()
            self._to_come.discard(worker)
            if not self._to_come and not self._all_came.called:
                self._all_came.callback(None)

    async def ended(self, worker: int) -> None:
        self._listening.discard(worker)
        self._tally.clear(worker)
        self.totals.died(worker)
        await attempt("freeing the leases of a dead worker", lambda: self._stores.outbox.processes.bury(worker))
        if len(self._to_come) == self._count:
            self._ended.add(worker)
            if len(self._ended) == self._count and not self._all_came.called:
                self._all_came.errback(NoWorkers())

    def _spawn(self, worker: WorkerProcess) -> None:
        """With the modules that we have, wherever they were found."""
        places = {FIRST_PORT + place: port.fileno() for place, port in enumerate(self._ports)}
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, *PROGRAM],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            childFDs={ORDERS: "w", 1: 1, 2: 2, ANSWERS: "r", LOCK: self._lock, TALLY: self._memory, **places},
        )
