"""The wiring: configuration to objects to one running service. The only place that knows every part."""

import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.tcp import Port
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway import __version__, config, logs, maillog
from gateway.card import card
from gateway.config import Config, NextHop
from gateway.edge.descriptors import places, raise_limit, shortage
from gateway.edge.limits import Door
from gateway.edge.server import Edge, SubmissionFactory
from gateway.edge.tls import ServerTls
from gateway.errors import ConfigError, Unavailable
from gateway.metrics import Metrics
from gateway.queue.ids import queue_id
from gateway.queue.reports import Reporter
from gateway.queue.runner import Runner
from gateway.queue.schedule import Schedule
from gateway.queue.senders import Senders
from gateway.relay.hop import Hop
from gateway.relay.maildir import MaildirHop
from gateway.relay.next_hops import NextHops
from gateway.relay.pool import SmtpHop
from gateway.sign_in import SignIn
from gateway.store.database import Database
from gateway.store.lockfile import hold
from gateway.store.migrate import check_schema
from gateway.store.processes import BEAT_EVERY
from gateway.store.sharing import bodies_in, is_shared, outbox_in
from gateway.store.store_clock import StoreClock
from gateway.store.usage import SqlLedger
from gateway.submission import Rules
from gateway.upkeep import Upkeep, attempt, in_steps
from gateway.web.site import operators_site

CERTIFICATES_EVERY = 20.0  # seconds between two looks at the certificate files
CLOCK_EVERY = 15.0  # seconds between two looks at the store's clock
HELD_EVERY = 15.0  # seconds between two looks whether accounts whose mail is held are enabled again
LEARN_EVERY = 600.0  # seconds between two looks at the kinds of hashes in the login table
LEARNING = "sampling the login table's hashes"
SWEEP_EVERY = 600.0  # seconds
NOTES_EVERY = 5.0  # seconds that sign-ins and refusals are counted in memory before they are written down
SIGN_INS, REFUSALS = "writing down sign-ins", "writing down refusals"
SWEEP_STEP = 500  # messages in one transaction
ORPHAN_AGE = 86400.0  # seconds
COUNTS_FOR = 5.0  # seconds that figures of the queue are good for a scrape
SESSIONS_END = 30.0  # seconds that transactions may take at a stop
LAST_WORDS = 2.0  # seconds more for those that are cut to read why
DELIVERIES_END = 15.0  # seconds more that deliveries may take
DISK_THREADS = 4
NEED_RESTART = ("listen", "accounts", "store", "http")  # tables that a reload does not take


class Options(usage.Options):
    """`twistd smtp-gateway`."""

    optParameters: ClassVar = [["config", "c", None, "The configuration file; gateway.toml, or $SMTP_GATEWAY_CONFIG."]]
    optFlags: ClassVar = [["card", None, "Print how to connect, as whom, and where mail arrives."]]


def makeService(options: Options) -> "Gateway":
    """The service of one process, everything that can be wrong with it checked. Exits with status 2 when something is."""
    from twisted.internet import reactor

    path = Path(options["config"] or os.environ.get("SMTP_GATEWAY_CONFIG", "gateway.toml"))
    try:
        return Gateway(config.load(path, os.environ), reactor, _log_writer(options), show_card=bool(options["card"]))
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        raise SystemExit(2) from None


def _log_writer(options: Options) -> Callable[[str], object]:
    """Where log lines go: twistd's --logfile, its twistd.log when it runs in the background, or standard output."""
    twistd: Any = options.parent or {}
    name = twistd.get("logfile") or ("-" if twistd.get("nodaemon", True) else "twistd.log")
    return partial(logs.write_to, sys.__stdout__) if name == "-" else logs.file_writer(Path(name).absolute())


class Gateway(Service):
    """One process: listeners, sign-in, queue, relay and HTTP. The constructor raises ConfigError and starts nothing."""

    def __init__(self, settings: Config, reactor: Any, write_log: Callable[[str], object], *, show_card: bool) -> None:
        logs.configure(settings.log.format, settings.log.level, write_log)
        reactor.seconds = time.monotonic  # a step of the wall clock must not fire every timer
        self._settings = settings
        self._reactor = reactor
        self._write_log = write_log
        self._show_card = show_card
        self._lock = hold(settings.server.state_dir)
        store_url = settings.store.url.get_secret_value()
        check_schema(store_url)
        self._clock = StoreClock(time.monotonic)
        try:
            self._clock.read_once(store_url)
        except Unavailable as away:
            raise ConfigError([f"store.url: cannot be read: {away}"]) from None
        self._metrics = Metrics(CollectorRegistry())
        self._disk = ThreadPool(DISK_THREADS, DISK_THREADS, "disk")  # all from the start: later there may be none to have
        self._descriptors = raise_limit()
        self._ports: list[Port] = []
        self._upkeep = Upkeep(reactor)
        self._listening = self._leaving = False
        self._counted_at = 0.0
        self._database = Database(store_url, reactor=reactor, metrics=self._metrics, clock=time.monotonic)
        self._sign_in = SignIn(settings, reactor, self._database, self._clock, self._metrics)
        self._ledger = SqlLedger(self._database, self._clock.now)
        self._wire_queue()
        self._wire_edge()

    def _wire_queue(self) -> None:
        settings, metrics, reactor = self._settings, self._metrics, self._reactor
        store_url, state_dir = settings.store.url.get_secret_value(), settings.server.state_dir
        self._outbox = outbox_in(self._database, store_url, state_dir, secrets.token_bytes)
        self._bodies = bodies_in(self._database, store_url, state_dir, self._in_spool)
        reporter = Reporter(settings.server.hostname, self._bodies, self._new_id, self._clock.now)
        self._relay = self._next_hops(settings)
        self._senders = Senders(self._outbox, self._sign_in.directory, reactor)
        self._runner = Runner(
            self._outbox, self._bodies, self._relay, self._senders, reporter, _schedule(settings), reactor, metrics
        )

    def _wire_edge(self) -> None:
        settings, metrics = self._settings, self._metrics
        self._tls = ServerTls(settings, self._clock.now)
        metrics.certificate_expiry.set_function(lambda: self._tls.expires - self._clock.now())
        rules = Rules(
            settings.server.hostname,
            settings.server.hide_client,
            settings.limits,
            settings.senders,
            self._sign_in.authenticator,
            self._sign_in.domains,
            self._ledger,
            self._bodies,
            self._runner,
            metrics,
            self._clock.now,
            self._new_id,
        )
        door = Door(places(settings.limits.connections, self._descriptors), settings.limits.connections_per_network)
        self._edge = Edge(rules, door, self._tls, settings.lockout, metrics, self._reactor)
        self._site = operators_site(
            metrics,
            self._count_queue,
            {
                "login_table": self._sign_in.directory.reachable,
                "store": self._outbox.next_due,
                "listeners": self._check_listeners,
            },
        )

    def _next_hops(self, settings: Config) -> NextHops:
        return NextHops([self._hop(hop, settings) for hop in settings.relay.next_hop], self._reactor)

    def _hop(self, hop: NextHop, settings: Config) -> Hop:
        hostname = settings.server.hostname
        if hop.path is not None:
            return MaildirHop(
                hop.path,
                self._on_disk,
                hostname,
                label=hop.label,
                bodies=self._bodies,
                clock=self._reactor,
                metrics=self._metrics,
            )
        return SmtpHop(
            hop,
            hostname=hostname,
            connections=settings.relay.connections,
            bodies=self._bodies,
            reactor=self._reactor,
            metrics=self._metrics,
        )

    def _on_disk(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._disk, function, *arguments)

    def _in_spool(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return self._on_disk(function, *arguments).addErrback(self._count_failure)

    def _count_failure(self, failure: Failure) -> Failure:
        self._metrics.store_errors_total.inc()
        return failure

    def _new_id(self) -> str:
        return queue_id(self._clock.now(), secrets.token_bytes(4))

    # Start

    def setServiceParent(self, parent: Any) -> None:
        """twistd hands us its application: from now on Twisted's own events become lines of our log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, logs.TwistedEvents())
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Bind the ports, while we may; nobody is let in before the store is ours (`_begin`). Exits with status 1."""
        problems = [
            self._bind(listen.address, listen.port, SubmissionFactory(self._edge, listen), f"listen.{number}.port")
            for number, listen in enumerate(self._settings.listen, 1)
        ]
        problems.append(self._bind(self._settings.http.address, self._settings.http.port, self._site, "http.port"))
        if any(problems):
            logs.write_to(sys.__stderr__, "".join(problems))
            raise SystemExit(1)

    def _bind(self, address: str, port: int, factory: Any, key: str) -> str:
        """What stands in the way, as a line; "" when it is bound."""
        try:
            listening = self._reactor.listenTCP(port, factory, interface=address, backlog=1024)
        except CannotListenError as error:
            cause = error.socketError
            cure = "; is another gateway running? stop it, or change the port" if _is_taken(cause) else ""
            reason = cause.strerror if isinstance(cause, OSError) else cause
            return f"{key}: cannot listen on {address} port {port}: {reason}{cure}\n"
        listening.stopReading()
        self._ports.append(listening)
        return ""

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._disk.start()
        self._database.start()
        self._sign_in.start()
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._begin()).addErrback(self._give_up))

    async def _begin(self) -> None:
        await self._outbox.register()
        await attempt(LEARNING, self._sign_in.learn_hashes)  # before the first refusal, whose time depends on it
        self._runner.start()
        for port in self._ports:
            port.startReading()
        self._listening = True
        for number, call in ((signal.SIGHUP, self.reload), (signal.SIGTERM, self._leave), (signal.SIGINT, self._leave)):
            signal.signal(number, lambda *_, call=call: self._reactor.callFromThread(call))
        self._upkeep.every(CERTIFICATES_EVERY, "looking at the certificates", self._look_at_certificates)
        self._upkeep.every(CLOCK_EVERY, "reading the store's clock", self._look_at_clock)
        self._upkeep.every(HELD_EVERY, "looking at held mail", self._senders.let_go)
        if is_shared(self._settings.store.url.get_secret_value()):
            self._upkeep.every(BEAT_EVERY, "telling the others that this gateway lives", self._outbox.processes.beat)
        self._upkeep.every(SWEEP_EVERY, "sweeping", self._sweep)
        self._upkeep.every(NOTES_EVERY, SIGN_INS, self._sign_in.flush)
        self._upkeep.every(NOTES_EVERY, REFUSALS, self._ledger.flush)
        self._upkeep.every(LEARN_EVERY, LEARNING, self._sign_in.learn_hashes)
        self._say_started()

    def _say_started(self) -> None:
        for what in self._settings.warnings:
            maillog.settings_warning(what)
        if lack := shortage(self._settings.limits.connections, self._descriptors):
            maillog.settings_warning(f"limits.connections: {lack}")
        if self._tls.is_self_signed:
            maillog.self_signed(str(self._settings.server.state_dir / "self-signed.pem"))
        bound = [f"{port.getHost().host}:{port.getHost().port}" for port in self._ports]
        maillog.started(__version__, bound)
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
        maillog.bug("starting", failure.value)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    # While running

    async def _look_at_certificates(self) -> None:
        self._tls.load_if_changed(self._settings)

    async def _look_at_clock(self) -> None:
        await self._clock.look(self._database)

    async def _sweep(self) -> None:
        keep = self._settings.relay.keep_finished
        messages = await in_steps(lambda: self._outbox.sweep(keep, SWEEP_STEP), self._reactor)
        await self._sign_in.sweep()
        await in_steps(lambda: self._ledger.sweep(SWEEP_STEP), self._reactor)
        maillog.swept(messages, await self._bodies.sweep_orphans(self._outbox.live_bodies, ORPHAN_AGE))

    async def _count_queue(self) -> None:
        now = self._reactor.seconds()
        if now - self._counted_at < COUNTS_FOR:
            return
        await self._sign_in.lockouts.count_active()
        counts = await self._outbox.counts()
        self._counted_at = now
        for state in ("queued", "deferred", "active"):
            self._metrics.queue_recipients.labels(state).set(getattr(counts, state))
        self._metrics.queue_held.set(counts.held)
        self._metrics.queue_oldest_seconds.set(counts.oldest)

    async def _check_listeners(self) -> None:
        if not self._listening or self._edge.draining:
            raise Unavailable("not listening")

    def reload(self) -> None:
        """SIGHUP: take certificates, limits, senders, lockout and relay settings; a bad file changes nothing."""
        try:
            new = config.load(self._settings.path, os.environ)
            relay = self._next_hops(new)
            self._tls.load(new)
        except ConfigError as error:
            maillog.reload_refused(error.problems)
            return
        ignored = [name for name in NEED_RESTART if getattr(new, name) != getattr(self._settings, name)]
        self._settings = new
        logs.configure(new.log.format, new.log.level, self._write_log)
        self._reload_edge(new)
        self._reload_relay(relay, new)
        maillog.reloaded()
        if ignored:
            maillog.needs_restart(ignored)

    def _reload_edge(self, new: Config) -> None:
        edge = self._edge
        edge.rules.limits, edge.rules.senders, edge.rules.hide_client = new.limits, new.senders, new.server.hide_client
        edge.door.total = places(new.limits.connections, self._descriptors)
        edge.door.per_network = new.limits.connections_per_network
        edge.lockout = new.lockout
        self._sign_in.reload(new)

    def _reload_relay(self, relay: NextHops, new: Config) -> None:
        old, self._relay = self._relay, relay
        self._runner.relay = relay
        self._runner.schedule = _schedule(new)
        ensureDeferred(old.close())

    # Stop

    def _leave(self) -> None:
        """SIGTERM, SIGINT: stop, once. Twisted's own way ends twistd by the signal, not with status 0, and minds a second."""
        if not self._leaving:
            self._leaving = True
            self._reactor.stop()

    async def _stop(self) -> None:
        maillog.stopping()
        self._upkeep.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)
        await self._end_sessions()
        await self._runner.stop(DELIVERIES_END)
        await self._relay.close()
        await attempt(SIGN_INS, self._sign_in.flush)
        await attempt(REFUSALS, self._ledger.flush)
        await self._sign_in.stop()
        await self._database.stop()
        self._disk.stop()
        maillog.stopped()

    async def _end_sessions(self) -> None:
        """Idle ones at once, those in a transaction after it, the rest when their time is over."""
        gone = self._edge.drain()
        if not await self._within(SESSIONS_END, gone):
            self._edge.cut()
            await self._within(LAST_WORDS, gone)
            self._edge.abort()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    async def _within(self, seconds: float, awaited: Deferred[None]) -> bool:
        """Whether it fires in time; it is not cancelled when it does not."""
        over: Deferred[bool] = Deferred()
        limit = self._reactor.callLater(seconds, over.callback, False)
        awaited.addCallback(lambda _: None if over.called else over.callback(True))
        in_time = await over
        if in_time:
            limit.cancel()
        return in_time


def _schedule(settings: Config) -> Schedule:
    relay = settings.relay
    return Schedule(relay.retry, relay.give_up, relay.delay_warning)


def _is_taken(cause: object) -> bool:
    return isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
