"""SmtpHop: the connections to one next hop, kept and reused.

At most `connections` at a time, a few more when they hang (gateway.relay.places); a delivery that finds none free waits
its turn. The one used last is reused first, so that the others grow old and close. A kept connection that turns out dead before
MAIL was answered has done nothing: the transaction goes once more over a fresh one, and costs no attempt.

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
from gateway.relay.places import Place, Places
from gateway.relay.tls import ClientTls
from gateway.smtp.client_events import ClientSettings, Finished, Stage

CONNECT_LIMIT = 30.0  # seconds for one connection to open; the next hop in the list is better than a longer wait
KEEP = 60.0  # seconds that a connection at rest is kept; RFC 5321 section 4.5.3.2.7 gives it 5 minutes


@dataclass(frozen=True, slots=True)
class _Load:
    """What one transaction is about."""

    message: QueuedMessage
    recipients: Sequence[Recipient]
    body: BodyReader
    lease: Lease
    place: Place


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
        self._tls = None if hop.tls == "none" else ClientTls(hop)
        self._places = Places(connections, reactor)
        self._idle: dict[Connection, float] = {}  # since when each is at rest, in the order they came to it
        self._look: IDelayedCall | None = None  # for those that have been at rest for too long
        self._down = ""  # why the last attempt to connect failed; "" once the hop was reached after it
        self._closing = False
        metrics.hop_connections.labels(hop=hop.label, state="idle").set_function(lambda: len(self._idle))
        metrics.hop_connections.labels(hop=hop.label, state="busy").set_function(lambda: self._places.taken)
        self._seconds = metrics.delivery_attempt_seconds.labels(hop=hop.label)

    async def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        """As `Hop.deliver`."""
        place = self._places.take_now()
        if place is None:
            place = await self._places.take()
            if self._down:  # the hop went down meanwhile; those in line do not all find that out by themselves
                self._places.give_back(place)
                raise HopDown(self._down)
        try:
            body = await self._bodies.open(message.body)
            try:
                return await self._attempt(_Load(message, recipients, body, lease, place))
            finally:
                body.close()
        finally:
            self._places.give_back(place)

    async def close(self) -> None:
        """Say goodbye on connections at rest and wait until they are gone; later ones are not kept."""
        self._closing = True
        self._places.close()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        leaving = list(self._idle)
        for connection in leaving:
            self._retire(connection)
        await DeferredList([connection.disconnected for connection in leaving])

    async def _attempt(self, load: _Load) -> list[Outcome]:
        started = self._reactor.seconds()
        connection = self._newest()
        finished = None if connection is None else await self._exchange(connection, load)
        if connection is None or finished is None or (connection.closed and not finished.mail_answered):
            load.place.connection = None
            for other in list(self._idle):  # older ones are no better, and a fresh one must not be one too many
                self._retire(other)
            if connection is not None and self._down:  # found out meanwhile, by others
                raise HopDown(self._down)
            connection = await self._connect()
            finished = await self._exchange(connection, load)
        self._seconds.observe(max(0.0, self._reactor.seconds() - started))
        return self._outcomes(load, connection, finished)

    async def _exchange(self, connection: Connection, load: _Load) -> Finished:
        load.place.connection = connection
        transaction = transaction_of(load.message, load.recipients[: connection.most_recipients])
        try:
            finished = await connection.transact(transaction, load.message.header, load.body, load.lease)
        except BaseException:  # the body cannot be read, the lease is lost, or nobody waits any more: never end half a message
            connection.abort()
            raise
        self._keep(connection)
        return finished

    def _outcomes(self, load: _Load, connection: Connection, finished: Finished) -> list[Outcome]:
        """Of those that had part in it, but for those that were too many for it, as long as it has got rid of some."""
        unconfirmed = finished.lost_after_dot
        if unconfirmed:
            maillog.lost_after_dot(self.label, load.message.id)
        remote = connection.remote or self._hop.host
        got_rid = any(verdict.result == "delivered" for verdict in finished.verdicts)
        return [
            outcome_of(recipient, verdict, hop=self.label, remote=remote, unconfirmed=unconfirmed)
            for recipient, verdict in zip(load.recipients, finished.verdicts, strict=False)
            if not (got_rid and verdict.too_many)
        ]

    # Opening

    async def _connect(self) -> Connection:
        """A fresh connection, signed in. Raises HopDown."""
        try:
            try:
                connection = await self._open(self._settings())
                why = f"the hop {'refuses' if connection.offers_tls else 'does not offer'} STARTTLS"
            except TlsFailed as failed:
                if self._hop.tls != "opportunistic":
                    raise
                why = failed.reason
                connection = await self._open(replace(self._settings(), starttls="never"))
        except HopDown as down:
            self._down = down.reason
            raise
        self._down = ""
        if self._hop.tls == "opportunistic" and not connection.encrypted:
            maillog.hop_in_clear(self.label, why)
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
        return self._idle.popitem()[0] if self._idle else None

    def _keep(self, connection: Connection) -> None:
        if connection.closed:
            return
        self._down = ""
        if self._closing or connection.used_up:
            connection.quit()
            return
        self._idle[connection] = self._reactor.seconds()
        if self._look is None:
            self._look = self._reactor.callLater(KEEP, self._let_old_ones_go)

    def _let_old_ones_go(self) -> None:
        """Whoever has been at rest for KEEP is retired; the next look is for the one that will be first."""
        now, self._look = self._reactor.seconds(), None
        for connection, since in list(self._idle.items()):
            if now - since < KEEP:
                self._look = self._reactor.callLater(since + KEEP - now, self._let_old_ones_go)
                return
            self._retire(connection)

    def _retire(self, connection: Connection) -> None:
        self._forget(connection)
        connection.quit()

    def _forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
