"""One serving process, wired: mail comes in, is queued and sent on."""

import math
import secrets
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.tcp import Port

from gateway import address
from gateway.accounts.owners import Owners
from gateway.address import Address
from gateway.config import Config, Listen
from gateway.edge.edge import Edge
from gateway.edge.limits import Door
from gateway.edge.listener import SubmissionFactory
from gateway.edge.tls import ServerTls
from gateway.hops import next_hops
from gateway.prompt import prompt
from gateway.queue.ids import QueueIds
from gateway.queue.reports import OwnersOnly, Reporter
from gateway.queue.runner import Runner
from gateway.queue.schedule import Schedule
from gateway.queue.senders import Senders
from gateway.relay.next_hops import NextHops
from gateway.stores import Stores
from gateway.submission import Rules
from gateway.upkeep import Upkeep, attempt

CERTIFICATES_EVERY = 20.0  # seconds between two looks at the certificate files
LEARN_EVERY = 600.0  # seconds between two looks at the kinds of hashes in the login table
LEARNING = "sampling the login table's hashes"
SESSIONS_END = 30.0  # seconds that transactions may take at a stop
LAST_WORDS = 2.0  # seconds more for those that are cut to read why
DELIVERIES_END = 15.0  # seconds more that deliveries may take


class Node:
    """Serves over `stores`, which others start and stop. The constructor raises ConfigError and starts nothing."""

    def __init__(self, stores: Stores, reactor: Any, door: Door) -> None:
        self._stores = stores
        self._reactor = reactor
        self._upkeep = Upkeep(reactor)
        self._ids = QueueIds(stores.clock.now, secrets.token_bytes)
        self._ports: Sequence[Port] = ()
        self._begun = self._stopped = False
        self._wire_queue()
        self._wire_edge(door)

    def _wire_queue(self) -> None:
        stores, settings = self._stores, self._stores.settings
        owners = Owners(stores.sign_in.directory, stores.sign_in.directory, stores.sign_in.domains)
        self._owners_only = OwnersOnly(owners, self._reactor, active=settings.senders.envelope == "any")
        reporter = Reporter(
            settings.server.hostname, stores.bodies, self._ids.make, stores.clock.now, owners_only=self._owners_only
        )
        self._relay = next_hops(settings, stores, self._reactor)
        senders = Senders(stores.outbox, stores.sign_in.directory, self._reactor)
        self._runner = Runner(
            stores.outbox,
            stores.bodies,
            self._relay,
            senders,
            reporter,
            _schedule(settings),
            self._reactor,
            stores.metrics,
        )

    def _wire_edge(self, door: Door) -> None:
        stores, settings = self._stores, self._stores.settings
        self._tls = ServerTls(settings, stores.clock.now)
        stores.metrics.certificate_expiry.set_function(lambda: self._tls.expires - stores.clock.now())
        rules = Rules(
            settings.server.hostname,
            settings.server.hide_client,
            settings.limits,
            settings.senders,
            stores.sign_in.authenticator,
            stores.sign_in.domains,
            stores.ledger,
            stores.bodies,
            self._runner,
            stores.metrics,
            stores.clock.now,
            self._ids.make,
            _postmaster(settings),
        )
        self._edge = Edge(rules, door, self._tls, settings.lockout, stores.metrics, self._reactor)

    @property
    def self_signed(self) -> bool:
        """Whether the certificate in use is one that we made."""
        return self._tls.is_self_signed

    @property
    def listening(self) -> bool:
        return self._begun and not self._edge.draining

    def factory(self, listen: Listen) -> SubmissionFactory:
        """What a port of this listener calls for each connection."""
        return SubmissionFactory(self._edge, listen)

    async def begin(self, ports: Sequence[Port]) -> None:
        """Let people in by `ports`, which are bound and not read from yet; the stores are registered."""
        self._ports = ports
        await attempt(LEARNING, self._stores.sign_in.learn_hashes)  # before the first refusal, whose time depends on it
        if self._stopped:
            return
        self._runner.start()
        for port in ports:
            prompt(port).startReading()
        self._begun = True
        self._upkeep.every(CERTIFICATES_EVERY, "looking at the certificates", self._look_at_certificates)
        self._upkeep.every(LEARN_EVERY, LEARNING, self._stores.sign_in.learn_hashes)

    async def _look_at_certificates(self) -> None:
        self._tls.load_if_changed(self._stores.settings)

    async def reload(self, new: Config) -> None:
        """Take certificates, limits, senders, lockout and relay settings. Raises ConfigError with everything as it was."""
        relay = next_hops(new, self._stores, self._reactor)
        self._tls.load(new)
        self._stores.settings = new
        edge = self._edge
        edge.rules.limits, edge.rules.senders, edge.rules.hide_client = new.limits, new.senders, new.server.hide_client
        self._owners_only.active = new.senders.envelope == "any"
        edge.door.total, edge.door.per_network = new.limits.connections, new.limits.connections_per_network
        edge.lockout = new.lockout
        self._stores.sign_in.reload(new)
        self._change_relay(relay, new)

    def _change_relay(self, relay: NextHops, new: Config) -> None:
        old, self._relay = self._relay, relay
        self._runner.relay = relay
        self._runner.schedule = _schedule(new)
        ensureDeferred(old.close())

    async def stop(self, patience: float = math.inf) -> None:
        """Let nobody in, end the sessions, let deliveries end: each as long as it may, and at most `patience` seconds."""
        self._stopped = True
        self._upkeep.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)
        await self._end_sessions(min(SESSIONS_END, patience))
        await self._runner.stop(min(DELIVERIES_END, patience))
        await self._relay.close()

    async def _end_sessions(self, patience: float) -> None:
        """Idle ones at once, those in a transaction after it, the rest when their time is over."""
        gone = self._edge.drain()
        if not await self._within(patience, gone):
            self._edge.cut()
            await self._within(LAST_WORDS, gone)
            self._edge.abort()

    async def _within(self, seconds: float, awaited: Deferred[None]) -> bool:
        """Whether it fires in time; it is not cancelled when it does not."""
        over: Deferred[bool] = Deferred()
        limit = self._reactor.callLater(seconds, over.callback, False)
        awaited.addCallback(lambda _: None if over.called else over.callback(True))
        in_time = await over
        if in_time:
            limit.cancel()
        return in_time


def _postmaster(settings: Config) -> Address:
    """The configured address, or that of this host, whatever it is called: mail for it is never refused."""
    configured = settings.server.postmaster
    return address.parse(configured) if configured else Address("postmaster", settings.server.hostname)


def _schedule(settings: Config) -> Schedule:
    relay = settings.relay
    return Schedule(relay.retry, relay.give_up, relay.delay_warning)
