"""What twistd runs: checks the configuration, binds the ports, and serves until it is told to stop."""

import os
import signal
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.tcp import Port
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from gateway import __version__, config, core_dumps, logs, maillog
from gateway.card import card
from gateway.config import Config, Listen
from gateway.cores import usable_cores
from gateway.edge.descriptors import places, raise_limit
from gateway.edge.limits import Door
from gateway.errors import ConfigError, NoThreads, Unavailable
from gateway.housekeeping import Housekeeping
from gateway.listening import CannotBind, bind
from gateway.node import Node
from gateway.share import Share
from gateway.store.lockfile import hold
from gateway.store.private_files import make_private
from gateway.stores import Stores
from gateway.upkeep import attempt
from gateway.web.site import operators_site
from gateway.workers import NoWorkers, Workers


class Options(usage.Options):
    """`twistd smtp-gateway`."""

    optParameters: ClassVar = [["config", "c", None, "The configuration file; gateway.toml, or $SMTP_GATEWAY_CONFIG."]]
    optFlags: ClassVar = [["card", None, "Print how to connect, as whom, and where mail arrives."]]


def makeService(options: Options) -> "Gateway":
    """The service of one process, everything that can be wrong with it checked. Exits with status 2 when something is."""
    from twisted.internet import reactor

    path = Path(options["config"] or os.environ.get("SMTP_GATEWAY_CONFIG", "gateway.toml"))
    try:
        return Gateway(config.load(path, os.environ), reactor, _log_file(options), show_card=bool(options["card"]))
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        raise SystemExit(2) from None


def _log_file(options: Options) -> str:
    """Where log lines go: twistd's --logfile, or its twistd.log when it runs in the background; "" is standard output."""
    twistd: Any = options.parent or {}
    name = twistd.get("logfile") or ("-" if twistd.get("nodaemon", True) else "twistd.log")
    return "" if name == "-" else os.path.abspath(name)


def number_of_workers(settings: Config) -> int:
    """How many processes are to serve beside this one; 0 when it serves alone."""
    wanted = len(usable_cores()) if settings.server.workers == "auto" else settings.server.workers
    return wanted if wanted > 1 else 0


class Serving(Protocol):
    """What takes mail in and sends it on: this process, or its workers."""

    @property
    def listening(self) -> bool: ...

    @property
    def self_signed(self) -> bool: ...

    def factory(self, listen: Listen) -> IProtocolFactory: ...

    def begin(self, ports: Sequence[Port]) -> Awaitable[None]: ...

    def reload(self, new: Config) -> Awaitable[None]: ...

    def stop(self) -> Awaitable[None]: ...


class Gateway(Service):
    """The gateway of one state directory. The constructor raises ConfigError and starts nothing."""

    def __init__(self, settings: Config, reactor: Any, log_file: str, *, show_card: bool) -> None:
        self._write_log = logs.writer(log_file)
        logs.configure(settings.log.format, settings.log.level, self._write_log)
        self._settings = settings
        self._reactor = reactor
        self._show_card = show_card
        core_dumps.forbid()
        lock = hold(settings.server.state_dir)
        make_private(settings.server.state_dir, settings.store.url.get_secret_value())
        self._workers = number_of_workers(settings)
        self._stores = Stores(settings, reactor, Share(0, self._workers) if self._workers else Share())
        self._housekeeping = Housekeeping(self._stores, reactor)
        self._ports: list[Port] = []
        self._leaving = False
        self._descriptors = raise_limit()  # which the workers inherit
        self._serving: Serving
        checks = {**self._housekeeping.checks, "listeners": self._check_listeners}
        if self._workers:
            workers = Workers(self._workers, self._stores, reactor, lock=lock, log_file=log_file)
            self._serving = workers
            self._site = operators_site(workers.totals, lambda: self._count_all(workers), checks, reactor)
        else:
            door = Door(settings.limits.connections, settings.limits.connections_per_network, places=places(self._descriptors))
            self._serving = Node(self._stores, reactor, door)
            self._site = operators_site(self._stores.metrics.registry, self._housekeeping.count_queue, checks, reactor)

    # Start

    def setServiceParent(self, parent: Any) -> None:
        """twistd hands us its application: from now on Twisted's own events become lines of our log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, logs.TwistedEvents())
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Bind the ports, while we may; nobody is let in before the store is ours (`_begin`). Exits with status 1."""
        try:
            self._ports = bind(self._settings, self._serving.factory, self._site, self._reactor)
        except CannotBind as error:
            logs.write_to(sys.__stderr__, "".join(error.lines))
            raise SystemExit(1) from None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._stores.start()
        except NoThreads as error:
            maillog.no_threads(str(error))
            os._exit(1)  # the threads that there are would keep us from any other end
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._begin()).addErrback(self._give_up))

    async def _begin(self) -> None:
        for number, call in ((signal.SIGHUP, self.reload), (signal.SIGTERM, self._leave), (signal.SIGINT, self._leave)):
            signal.signal(number, lambda *_, call=call: self._reactor.callFromThread(call))
        await self._stores.register()
        if self._leaving:
            return
        *ports, http = self._ports
        http.startReading()
        self._housekeeping.start()
        await self._serving.begin(ports)
        self._say_started()

    def _say_started(self) -> None:
        for what in self._settings.warnings:
            maillog.settings_warning(what)
        wanted, there_are = self._settings.limits.connections, places(self._descriptors) * max(1, self._workers)
        if there_are < wanted:
            files = f"the system allows {self._descriptors} open files (ulimit -n, LimitNOFILE)"
            maillog.settings_warning(f"limits.connections: {wanted}, but only {there_are} sessions fit: {files}")
        if self._serving.self_signed:
            maillog.self_signed(str(self._settings.server.state_dir / "self-signed.pem"))
        bound = [f"{port.getHost().host}:{port.getHost().port}" for port in self._ports]
        maillog.started(__version__, bound, self._workers)
        if self._show_card:
            logs.write_to(sys.__stdout__, card(self._settings, self._ports_in_use()))

    def _ports_in_use(self) -> dict[str, int]:
        """The port of the first listener of each kind; the last port bound is that of HTTP."""
        used: dict[str, int] = {}
        for listen, port in zip(self._settings.listen, self._ports[:-1], strict=True):
            used.setdefault(listen.security, port.getHost().port)
        return used

    def _give_up(self, failure: Any) -> None:
        """The start failed after the ports were bound: stop, with a status that a supervisor notices."""
        if self._leaving:  # what it needed is closed
            return
        if failure.check(NoWorkers):
            maillog.no_workers()
        elif failure.check(Unavailable):
            maillog.cannot_start(str(failure.value))
        else:
            maillog.bug("starting", failure.value)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    # While running

    async def _count_all(self, workers: Workers) -> None:
        await workers.refresh()
        await self._housekeeping.count_queue()

    async def _check_listeners(self) -> None:
        if not self._serving.listening:
            raise Unavailable("not listening")

    def reload(self) -> None:
        """SIGHUP: take certificates, limits, senders, lockout and relay settings; a bad file changes nothing."""
        ensureDeferred(attempt("reloading", self._reload))

    async def _reload(self) -> None:
        try:
            new, waiting = config.reloaded(self._settings, config.load(self._settings.path, os.environ))
            await self._serving.reload(new)
        except ConfigError as error:
            maillog.reload_refused(error.problems)
            return
        self._settings = new
        logs.configure(new.log.format, new.log.level, self._write_log)
        maillog.reloaded()
        if waiting:
            maillog.needs_restart(waiting)

    # Stop

    def _leave(self) -> None:
        """SIGTERM, SIGINT: stop, once. Twisted's own way ends twistd by the signal, not with status 0, and minds a second."""
        if not self._leaving:
            self._leaving = True
            self._reactor.stop()

    async def _stop(self) -> None:
        maillog.stopping()
        self._stores.leave()
        self._housekeeping.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)
        await self._serving.stop()
        await self._stores.stop()
        maillog.stopped()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())
