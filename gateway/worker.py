"""A worker process: `python -m gateway.worker`, as its parent starts it, with the sockets that it inherits.

It does what it is told over the pipe of orders. When that closes, the parent is dead: then it lets what runs end for a few
seconds and goes, for a new parent cannot start before (a worker holds the lock of the state directory, too).
"""

import math
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.stdio import StandardIO
from twisted.internet.tcp import Port
from twisted.logger import globalLogBeginner

from gateway import logs, maillog
from gateway.config import Config, Listen
from gateway.cores import core_of, run_on, usable_cores
from gateway.edge.descriptors import places, raise_limit
from gateway.edge.limits import Door
from gateway.edge.tally import Tally
from gateway.errors import ConfigError, NoThreads
from gateway.node import Node
from gateway.orders import (
    ANSWERS,
    FIGURES,
    FIRST_PORT,
    LISTENING,
    ORDERS,
    TALLY,
    Begin,
    Channel,
    Reload,
    Report,
    answer_frame,
    read_order,
)
from gateway.stores import Stores
from gateway.upkeep import attempt
from gateway.web.totals import figures

ORPHANED = 3.0  # seconds that sessions may take to end when the parent is dead, and deliveries after them
LAST = 15.0  # seconds after which an orphan goes, whatever it still does


def main() -> None:
    """Serve until the parent says so, or is gone."""
    from twisted.internet import reactor

    running: Any = reactor
    worker = Worker(running)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the parent tells us
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: running.callFromThread(worker.leave))
    pipes: Any = StandardIO  # mypy knows it as that of Windows
    pipes(worker.channel, stdin=ORDERS, stdout=ANSWERS)
    running.run(installSignalHandlers=False)
    sys.exit(worker.status)


class Worker:
    """What runs in the process, from its first order on."""

    def __init__(self, reactor: Any) -> None:
        self.status = 0
        self.channel = Channel(self._heard, self._cut_off)
        self._reactor = reactor
        self._running: _Running | None = None
        self._leaving = self._orphaned = self._done = False

    def _heard(self, frame: bytes) -> None:
        number, order = read_order(frame)
        if isinstance(order, Begin):
            self._begin(order)
        elif isinstance(order, Report):
            self._say(number, {FIGURES: self._figures()})
        elif isinstance(order, Reload):
            ensureDeferred(self._reload(number, order.settings))
        else:
            self.leave()

    async def _reload(self, number: int, new: Config) -> None:
        if self._running is not None:
            await self._running.reload(new)
        self._say(number, {})

    def _say(self, number: int, content: Mapping[str, object]) -> None:
        self.channel.send(answer_frame(number, content))

    def _figures(self) -> object:
        return [] if self._running is None else figures(self._running.stores.metrics.registry)

    # Life

    def _begin(self, order: Begin) -> None:
        try:
            _begin_log(order)
            self._running = _Running(order, self._reactor)
        except ConfigError as error:
            maillog.worker_refused(error.problems)
            self._fail()
        except Exception as error:
            maillog.bug("starting", error)
            self._fail()
        else:
            ensureDeferred(self._serve(self._running))

    async def _serve(self, running: "_Running") -> None:
        try:
            await running.start()
        except NoThreads as error:
            maillog.no_threads(str(error))
            os._exit(1)  # the threads that there are would keep us from any other end
        except Exception as error:
            if not self._leaving:
                maillog.bug("starting", error)
                self._fail()
            return
        if not self._leaving:
            maillog.worker_listens(os.getpid())
            self._say(0, {LISTENING: True})

    def _fail(self) -> None:
        self.status = 1
        self.leave()

    def leave(self, patience: float = math.inf) -> None:
        """End, once; what runs may take as long as at any stop, and at most about `patience` seconds."""
        if not self._leaving:
            self._leaving = True
            ensureDeferred(self._leave(patience))

    async def _leave(self, patience: float) -> None:
        running = self._running
        if running is not None:
            await attempt("stopping", lambda: running.stop(patience))
        self._done = True
        if self._orphaned:
            self._reactor.stop()
        else:
            self._say(0, {FIGURES: self._figures()})  # what the last sessions did counts as well
            self._pipes.loseConnection()

    def _cut_off(self) -> None:
        """Our last word is written, or the parent is gone."""
        if self._done:
            self._reactor.stop()
            return
        self._orphaned = True
        if self._running is not None:  # before it was told to begin it has no log, and nothing to tell
            maillog.orphaned()
        self._reactor.callLater(LAST, os._exit, 1)
        self.leave(ORPHANED)

    @property
    def _pipes(self) -> Any:
        return self.channel.transport


def _begin_log(order: Begin) -> None:
    """Raises OSError."""
    log = order.settings.log
    logs.configure(log.format, log.level, logs.writer(order.log_file), order.share.number)
    globalLogBeginner.beginLoggingTo([logs.TwistedEvents()], discardBuffer=True, redirectStandardIO=False)


class _Running:
    """A node over stores of its own. The constructor raises ConfigError."""

    def __init__(self, order: Begin, reactor: Any) -> None:
        settings, share = order.settings, order.share
        self._write_log = logs.writer(order.log_file)
        self._share = share
        self._reactor = reactor
        self.stores = Stores(settings, reactor, share)
        tally = Tally(TALLY, share.of + 1, share.number, order.tally_key)
        door = Door(settings.limits.connections, settings.limits.connections_per_network, tally, places=places(raise_limit()))
        self._node = Node(self.stores, reactor, door)
        self._ports = [self._adopt(FIRST_PORT + place, listen) for place, listen in enumerate(settings.listen)]

    def _adopt(self, descriptor: int, listen: Listen) -> Port:
        """The port that the parent bound; nobody reads from it yet. Twisted makes a descriptor of its own."""
        with socket.socket(fileno=descriptor) as bound:
            port: Port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._node.factory(listen))
        port.stopReading()
        return port

    async def start(self) -> None:
        """Raises Unavailable."""
        run_on(core_of(self._share.number, usable_cores()))
        self.stores.start()
        await self.stores.register()
        await self._node.begin(self._ports)

    async def reload(self, new: Config) -> None:
        """The parent has found nothing wrong with them; who does (a file was changed since) keeps the old ones."""
        try:
            await self._node.reload(new)
        except ConfigError as error:
            maillog.reload_refused(error.problems)
        else:
            logs.configure(new.log.format, new.log.level, self._write_log, self._share.number)

    async def stop(self, patience: float) -> None:
        maillog.stopping()
        self.stores.leave()
        await self._node.stop(patience)
        await self.stores.stop()
        maillog.stopped()


if __name__ == "__main__":
    main()
