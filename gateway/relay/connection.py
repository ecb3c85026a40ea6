"""Connection: pumps one ClientSession over a transport, within the time limits of RFC 5321 section 4.5.3.2.

Time limits hold for a whole reply, never for a line of it, so that a hop which sends a line a minute does not
hold a place. Bodies stream with back-pressure: the transport says when to wait, and memory holds one block. What is
small waits for company, so that a short message leaves with its final dot in one write.
"""

import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.deadline import Deadline
from gateway.maillog import bug, peer_text
from gateway.net.keepalive import keep_alive
from gateway.net.tls_layer import TlsLayer
from gateway.prompt import write_promptly
from gateway.queue.lease import Lease
from gateway.queue.ports import BodyReader
from gateway.relay.hop import HopDown
from gateway.relay.tls import ClientTls, reason_of
from gateway.smtp.client import ClientSession
from gateway.smtp.client_events import ClientSettings, Event, Finished, SendBody, Stage, StartTls, Unusable
from gateway.smtp.transaction import Transaction

# Seconds to wait in a stage. RFC 5321 section 4.5.3.2 gives the minimum for those marked *.
LIMITS = {
    Stage.GREETING: 60.0,  # * says 5 minutes, for hosts met once; a smarthost that takes a minute is down, the next is asked
    Stage.HELLO: 60.0,  # with the TLS handshake before it; no minimum
    Stage.STARTTLS: 60.0,  # no minimum
    Stage.AUTH: 60.0,  # no minimum; slow password hashes take seconds
    Stage.RSET: 60.0,  # no minimum, and nothing to decide for the hop
    Stage.MAIL: 300.0,  # *
    Stage.RCPT: 300.0,  # *
    Stage.DATA: 120.0,  # *
    Stage.BODY: 180.0,  # * from one block to the next
    Stage.DOT: 600.0,  # * long, since giving up here makes a second copy (RFC 1047)
    Stage.QUIT: 5.0,  # nothing depends on the answer
    Stage.CLOSED: 5.0,  # for what is written to leave and the hop to close its side
}
WORTH_A_WRITE = 64 * 1024  # octets of a message that leave before its end is known


class TlsFailed(HopDown):
    """The TLS handshake failed, or the certificate is not one we take."""


@implementer(IPushProducer)
class Connection(Protocol):
    """One connection to a next hop: `opened`, then `transact` any number of times, then `quit`.

    `clock` drives the time limits, `limits` in seconds; `tls` is used at once when `settings.encrypted`, else at STARTTLS.
    `disconnected` fires when the transport is gone.
    """

    def __init__(
        self,
        settings: ClientSettings,
        tls: ClientTls | None,
        clock: IReactorTime,
        limits: Mapping[Stage, float] = LIMITS,
    ) -> None:
        self.disconnected: Deferred[None] = Deferred()
        self._session = ClientSession(settings)
        self._implicit_tls = settings.encrypted
        self._tls = tls
        self._limits = limits
        self._handshaking = False  # until the first octets through TLS: a certificate is refused after the handshake
        self._events: deque[Event] = deque()
        self._event_awaited: Deferred[None] | None = None
        self._clock = clock
        self._deadline = Deadline(clock, lambda: self._give_up("timed out"))
        self._timed: tuple[Stage, int] | None = None  # what the deadline is for
        self._progress = 0.0  # when the deadline was set
        self._resumed: Deferred[None] | None = None  # while the transport has asked us to wait
        self._tls_trouble = ""
        self._lost = False  # the transport is gone

    @property
    def closed(self) -> bool:
        return self._session.closed

    @property
    def encrypted(self) -> bool:
        """Whether TLS has begun on it."""
        return isinstance(self.transport, TlsLayer)

    @property
    def offers_tls(self) -> bool:
        """Whether the hop's last answer to EHLO has STARTTLS."""
        return "STARTTLS" in self._session.extensions

    @property
    def remote(self) -> str:
        return self._session.remote

    @property
    def most_recipients(self) -> int | None:
        """How many the hop takes in one transaction; None: it has not said."""
        return self._session.most_recipients

    @property
    def used_up(self) -> bool:
        """Whether the hop takes no further transaction over this connection."""
        return self._session.used_up

    @property
    def waits_since(self) -> float | None:
        """By the clock of its limits, since when we wait for the hop to answer or to read; None while it is our turn."""
        stage = self._session.stage
        ours = stage in (Stage.IDLE, Stage.CLOSED) or (stage is Stage.BODY and self._resumed is None)
        return None if ours else self._progress

    async def opened(self) -> None:
        """Wait until the session is set up. Raises HopDown (TlsFailed), the connection being closed then."""
        event = await self._event()
        if isinstance(event, Unusable):
            if self._tls_trouble:
                raise TlsFailed(self._tls_trouble)
            raise HopDown.of(event)

    async def transact(self, transaction: Transaction, header: bytes, body: BodyReader, lease: Lease) -> Finished:
        """One transaction. Raises LeaseLost, or Unavailable when the body cannot be read; `abort` is all that is left then."""
        await lease.confirm()
        self._session.begin(transaction)
        self._pump()
        event = await self._event()
        if isinstance(event, SendBody):
            await self._send(header, body, lease)
            event = await self._event()
        if not isinstance(event, Finished):
            raise TypeError(f"{type(event).__name__} in a transaction")
        return event

    async def _event(self) -> Event:
        while not self._events:
            self._event_awaited = Deferred()
            await self._event_awaited
        return self._events.popleft()

    def quit(self) -> None:
        """End the session politely; `disconnected` fires soon."""
        if not self.closed:
            self._session.quit()
            self._pump()

    def abort(self) -> None:
        """Drop the connection now, in the middle of anything."""
        self._give_up("given up")

    # The body

    async def _send(self, header: bytes, body: BodyReader, lease: Lease) -> None:
        transport = self._transport()
        transport.registerProducer(self, True)
        try:
            self._session.send_body(header)
            waiting = len(header)
            while self._session.stage is Stage.BODY:
                block = await body.read()
                if not block:
                    await lease.confirm()
                if self._session.stage is not Stage.BODY:  # meanwhile refused, timed out or lost
                    return
                if block:
                    self._session.send_body(block)
                    waiting += len(block)
                else:
                    self._session.end_body()
                if block and waiting < WORTH_A_WRITE:
                    continue
                waiting = 0
                self._timed = None  # a block is progress
                self._pump()
                if self._resumed is not None:
                    await self._resumed
        finally:
            if not self._lost:  # Twisted's transport of TLS that is lost cannot be asked for this any more
                transport.unregisterProducer()

    def pauseProducing(self) -> None:
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:
        waiting, self._resumed = self._resumed, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost. Only connectionLost goes on: until then, all the rest of a body would look as if sent."""

    # The transport

    def _transport(self) -> Any:
        """The transport, whose producer and TLS methods its declared interface leaves out."""
        return self.transport

    def connectionMade(self) -> None:
        transport = self._transport()
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)  # else the final dot waits for the acknowledgment of the body
            keep_alive(transport)
        if self._implicit_tls:
            self._start_tls()
        self._pump()

    def handshakeCompleted(self) -> None:
        """Told by the TLS layer. The hop may still refuse us: the handshake counts as done with the first octets through it."""

    def dataReceived(self, data: bytes) -> None:
        self._handshaking = False
        self._session.receive(data)
        self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._handshaking:
            self._tls_trouble = f"TLS with the hop failed: {peer_text(reason_of(reason.value))}"
        self._session.connection_lost("connection lost")
        self._pump()
        self._deadline.stop()
        self.resumeProducing()
        self.disconnected.callback(None)

    def _pump(self) -> None:
        """Carry out what the session wants, and set the timer for what it waits for next."""
        self._write()
        while (event := self._session.next_event()) is not None:
            if isinstance(event, StartTls):
                self._start_tls()
                if not self.closed:
                    self._session.tls_started()
                    self._write()
            else:
                self._events.append(event)
        if self.closed and self.transport is not None:
            self.transport.loseConnection()
        self._time()
        if self._events and self._event_awaited is not None:
            waiting, self._event_awaited = self._event_awaited, None
            waiting.callback(None)

    def _write(self) -> None:
        data = self._session.data_to_send()
        if len(data) >= WORTH_A_WRITE:  # the next block waits until the hop has taken this one, and others have their turn
            self._transport().write(data)
        elif data:
            write_promptly(self._transport(), data)

    def _start_tls(self) -> None:
        self._handshaking = True
        assert self._tls is not None
        try:
            self._tls.start(self._transport(), self)
        except ssl.SSLError as error:  # no protocol that the system's policy allows, for instance
            self._give_up(reason_of(error))
        except Exception as error:  # not for Twisted: after an error in connectionMade it never says that connecting has failed
            bug("starting TLS", error)
            self._give_up("a problem on our side")

    # Time

    def _time(self) -> None:
        """Start the time limit afresh when a reply came or the stage changed, and only then."""
        now_for = (self._session.stage, self._session.replies)
        if now_for == self._timed:
            return
        self._timed = now_for
        self._progress = self._clock.seconds()
        limit = self._limits.get(now_for[0])
        if limit is None:
            self._deadline.clear()
        else:
            self._deadline.within(limit)

    def _give_up(self, how: str) -> None:
        if self._handshaking:
            self._tls_trouble = f"TLS with the hop failed: {how}"
        self._session.connection_lost(how)
        self._pump()
        self._transport().abortConnection()
