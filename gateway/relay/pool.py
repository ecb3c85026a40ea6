"""SmtpHop: the connections to one next hop, kept and reused.

At most `connections` at a time; who finds none free waits its turn. The one used last is reused first, so that
the others grow old and close. A kept connection that turns out dead before MAIL was answered has done nothing:
the transaction goes once more over a fresh one, and costs no attempt.

A hop may take fewer recipients in a transaction than there are, by its LIMITS (RFC 9422) or by its 452 to some of them;
those left over have no outcome yet, and are asked for at once in the next transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory

from gateway import maillog
from gateway.config import NextHop
from gateway.metrics import Metrics
from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage, Recipient
from gateway.queue.ports import Bodies, BodyReader
from gateway.relay.connection import LIMITS, Connection, TlsFailed
from gateway.relay.hop import HopDown, outcome_of, transaction_of
from gateway.relay.slots import Slots
from gateway.relay.tls import client_tls
from gateway.smtp.client_events import ClientSettings, Stage
from gateway.smtp.transaction import Verdict

CONNECT_LIMIT = 30.0  # seconds for one connection to open; the next hop in the list is better than a longer wait
KEEP = 60.0  # seconds that a connection at rest is kept; RFC 5321 section 4.5.3.2.7 gives it 5 minutes


@dataclass(frozen=True, slots=True)
class _Load:
    """What one transaction is about."""

    message: QueuedMessage
    recipients: Sequence[Recipient]
    body: BodyReader
    lease: Lease


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one transaction came to."""

    recipients: Sequence[Recipient]  # that had part in it
    verdicts: Sequence[Verdict]
    remote: str
    mail_answered: bool
    unconfirmed: bool  # the final reply was lost

    def decided(self) -> list[tuple[Recipient, Verdict]]:
        """Without those that were too many for it, as long as it has got rid of some."""
        both = list(zip(self.recipients, self.verdicts, strict=True))
        if any(verdict.result == "delivered" for verdict in self.verdicts):
            return [(recipient, verdict) for recipient, verdict in both if not verdict.too_many]
        return both


class SmtpHop:
    """One SMTP server. `hostname` is ours, for EHLO; `reactor` connects, resolves names and keeps time.

    `limits` in seconds. The constructor raises ConfigError when the hop's file of authorities cannot be used.
    """

    def __init__(
        self,
        hop: NextHop,
        *,
        hostname: str,
        connections: int,
        bodies: Bodies,
        reactor: Any,
        metrics: Metrics,
        limits: Mapping[Stage, float] = LIMITS,
    ) -> None:
        self.label = hop.label
        self._hop = hop
        self._hostname = hostname
        self._bodies = bodies
        self._reactor = reactor
        self._limits = limits
        self._tls = None if hop.tls == "none" else client_tls(hop)
        self._slots = Slots(connections)
        self._idle: dict[Connection, IDelayedCall] = {}  # in the order they came to rest
        self._down = ""  # why the last attempt to connect failed; "" after one that did not
        self._closing = False
        self._idle_count = metrics.hop_connections.labels(hop=hop.label, state="idle")
        self._busy_count = metrics.hop_connections.labels(hop=hop.label, state="busy")
        self._seconds = metrics.delivery_attempt_seconds.labels(hop=hop.label)

    async def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        """As `Hop.deliver`."""
        waits = not self._slots.free
        await self._slots.take()
        try:
            self._count()
            if waits and self._down:  # the hop went down meanwhile; those in line do not all find that out by themselves
                raise HopDown(self._down)
            body = await self._bodies.open(message.body)
            try:
                return await self._attempt(_Load(message, recipients, body, lease))
            finally:
                body.close()
        finally:
            self._slots.give_back()
            self._count()

    async def close(self) -> None:
        """Say goodbye on connections at rest and wait until they are gone; later ones are not kept."""
        self._closing = True
        leaving = list(self._idle)
        for connection in leaving:
            self._retire(connection)
        await DeferredList([connection.disconnected for connection in leaving])

    async def _attempt(self, load: "_Load") -> list[Outcome]:
        started = self._reactor.seconds()
        attempt = await self._transact(load)
        self._seconds.observe(max(0.0, self._reactor.seconds() - started))
        if attempt.unconfirmed:
            maillog.lost_after_dot(self.label, load.message.id)
        remote = attempt.remote or self._hop.host
        return [
            outcome_of(recipient, verdict, hop=self.label, remote=remote, unconfirmed=attempt.unconfirmed)
            for recipient, verdict in attempt.decided()
        ]

    async def _transact(self, load: "_Load") -> "_Attempt":
        connection = self._newest()
        if connection is not None:
            attempt = await self._exchange(connection, load)
            if attempt.mail_answered or not connection.closed:
                return attempt
            for other in list(self._idle):  # older ones are no better, and a fresh one must not be one too many
                self._retire(other)
        return await self._exchange(await self._connect(), load)

    async def _exchange(self, connection: Connection, load: "_Load") -> "_Attempt":
        recipients = load.recipients[: connection.most_recipients]
        transaction = transaction_of(load.message, recipients)
        try:
            finished = await connection.transact(transaction, load.message.header, load.body, load.lease)
        except BaseException:  # the body cannot be read, the lease is lost, or nobody waits any more: never end half a message
            connection.abort()
            raise
        self._keep(connection)
        return _Attempt(recipients, finished.verdicts, connection.remote, finished.mail_answered, finished.lost_after_dot)

    # Opening

    async def _connect(self) -> Connection:
        """A fresh connection, signed in. Raises HopDown."""
        try:
            try:
                connection = await self._open(self._settings())
            except TlsFailed:
                if self._hop.tls != "opportunistic":
                    raise
                connection = await self._open(replace(self._settings(), starttls="never"))
        except HopDown as down:
            self._down = down.reason
            raise
        self._down = ""
        return connection

    def _settings(self) -> ClientSettings:
        hop = self._hop
        implicit = hop.kind == "smtps"
        return ClientSettings(
            self._hostname,
            starttls="never" if implicit or hop.tls == "none" else "required" if hop.tls == "required" else "offered",
            encrypted=implicit,
            user=hop.user,
            password=hop.password.get_secret_value(),
            clear_auth=hop.tls == "none",
        )

    async def _open(self, settings: ClientSettings) -> Connection:
        connection = Connection(settings, self._tls, self._reactor, self._limits)
        endpoint = HostnameEndpoint(self._reactor, self._hop.host, self._hop.port, timeout=CONNECT_LIMIT)
        try:
            await endpoint.connect(Factory.forProtocol(lambda: connection))
        except (ConnectError, DNSLookupError, OSError, ValueError) as error:
            raise HopDown(f"cannot connect: {maillog.peer_text(str(error))}") from error
        try:
            await connection.opened()
        except BaseException:
            connection.abort()
            raise
        connection.disconnected.addCallback(lambda _: self._forget(connection))
        return connection

    # Keeping

    def _newest(self) -> Connection | None:
        """The connection that came to rest last, if any is left."""
        if not self._idle:
            return None
        connection, timer = self._idle.popitem()
        timer.cancel()
        return connection

    def _keep(self, connection: Connection) -> None:
        if connection.closed:
            return
        self._idle[connection] = self._reactor.callLater(KEEP, self._retire, connection)
        if self._closing or connection.used_up:
            self._retire(connection)

    def _retire(self, connection: Connection) -> None:
        self._forget(connection)
        connection.quit()

    def _forget(self, connection: Connection) -> None:
        timer = self._idle.pop(connection, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._count()

    def _count(self) -> None:
        self._idle_count.set(len(self._idle))
        self._busy_count.set(self._slots.limit - self._slots.free)
