"""A session on the network: moves octets between a transport and a `ServerSession`, and asks for decisions.

Theory of operation. One coroutine a session (`_serve`) takes the session's events one at a time and awaits the
decision on each; while it waits, or while the peer does not take our replies, what arrives is only stored, and past
HELD octets the transport is told to stop reading. Replies are written when there is nothing left to read or a
decision may take long, so the replies to a pipelined group share a packet; the full TLS records of a message that
come in one turn of the reactor are read together at its end. A lost connection does not cancel a
decision: what was begun for a message ends properly, and then the coroutine finds nobody there. Deadlines run
only while we wait for the peer; a command has one for the whole of it, so that an octet a minute does not hold a
place.
"""

from typing import Any, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway import maillog, reply
from gateway.config import Listen
from gateway.deadline import Deadline
from gateway.edge.edge import Edge
from gateway.edge.limits import Admission, network_of
from gateway.errors import Refused, StorageFull, Unavailable
from gateway.reply import Reply
from gateway.smtp import events
from gateway.smtp.commands import SessionSettings
from gateway.smtp.events import Event
from gateway.smtp.server import ServerSession
from gateway.submission import Peer, Rules, Submission

HELD = 128 * 1024  # octets received ahead of a decision before the peer has to wait
HANDSHAKE_WAIT = 30.0  # seconds
COMMAND_WAIT = 300.0  # RFC 5321 section 4.5.3.2.7, for the whole command
BODY_WAIT = 180.0  # section 4.5.3.2.5, between two parts of a message
SIGN_IN_WAIT = 600.0  # a session that nobody has signed in to ends then, whatever it says meanwhile
SLOWEST = 4096  # octets a second: with ten minutes on top, a message may take no longer than that
RECORD = 16384  # octets of a full TLS record (RFC 8446 section 5.1): more are on their way
TURN = 25  # events that one session may have answered before others have their turn
LINGER = 20.0  # for the peer to take our last words before the connection is cut
LINGER_AT_STOP = 3.0

_SLOW_EVENTS = (events.Authenticate, events.MailFrom, events.BodyEnd)  # before each, what is ready to be said is written


@implementer(IPushProducer)
class SubmissionProtocol(Protocol):
    """One connection; `IPushProducer` because the transport tells us when the peer does not read.

    `client` is the peer's IP address where a proxy has told it; without it the other end of the connection counts.
    """

    def __init__(self, edge: Edge, listen: Listen, client: str = "") -> None:
        self._edge = edge
        self._listen = listen
        self._session = ServerSession(_settings(edge.rules, listen), edge.counts.reply)
        self._deadline = Deadline(edge.clock, self._expired)
        self._peer = Peer(client, "", "")
        self._submission = Submission(edge.rules, self._peer)
        self._wake: Deferred[None] | None = None
        self._handshake = False  # begun and not done
        self._admitted = self._gone = self._choked = self._deaf = self._ending = self._gave_way = False
        self._reads_soon = False  # what has come is taken at the end of the reactor's turn
        self._answered = 0  # events in this turn
        self._began = 0.0
        self._body_until = 0.0

    # Twisted calls these

    def connectionMade(self) -> None:
        transport = self._tcp()
        self._peer.address = self._peer.address or transport.getPeer().host
        lockout = self._edge.lockout
        self._peer.network = network_of(self._peer.address, lockout.ipv4_prefix, lockout.ipv6_prefix)
        self._peer.trust_network = network_of(self._peer.address, lockout.trust_ipv4_prefix, lockout.trust_ipv6_prefix)
        admission = self._edge.door.enter(self._peer.network)
        if admission is Admission.TOO_MANY and self._edge.make_room(self._peer.trust_network):
            admission = self._edge.door.enter(self._peer.network)
        self._edge.metrics.connections_total.labels(self._listen.label, admission.value).inc()
        if admission is not Admission.ACCEPTED:
            maillog.connection_refused(self._peer.network, admission.value)
            self._turn_away()
            return
        self._admitted = True
        self._edge.sessions[self] = None
        self._edge.metrics.connections.labels(self._listen.label).inc()
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)
        self._began = self._edge.clock.seconds()
        if self._listen.security == "tls":
            self._start_tls()
        ensureDeferred(self._serve())

    def dataReceived(self, data: bytes) -> None:
        if self._ending:  # over TLS a peer can still talk while we close
            return
        self._session.receive_data(data)
        if self._session.held > HELD and (self._wake is None or self._choked) and not self._deaf:
            self._deaf = True
            self._tcp().pauseProducing()
        if len(data) < RECORD or not self._session.in_body:
            self._wake_up()
        elif not self._reads_soon:
            self._reads_soon = True
            self._edge.clock.callLater(0.0, self._read_all)

    def handshakeCompleted(self) -> None:
        self._handshake = False
        tls = self._tcp()
        self._peer.tls = tls.cipher_suite
        self._edge.metrics.tls_handshakes_total.labels(tls.version, "ok").inc()
        if not self._ending:
            self._deadline.clear()
            self._wait_for_peer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._deadline.stop()
        if self._handshake:
            self._edge.metrics.tls_handshakes_total.labels("none", "failed").inc()
        if self._admitted:
            self._edge.metrics.connections.labels(self._listen.label).dec()
            if not self._gave_way:
                self._edge.door.leave(self._peer.network)
            self._edge.left(self)
        self._wake_up()

    # Places

    @property
    def trust_network(self) -> str:
        return self._peer.trust_network

    def gives_way(self, latest: float) -> bool:
        """Whether nobody has signed in, nothing is being decided, and it began before `latest`."""
        return not (self._session.signed_in or self._ending or self._gave_way or self._wake is None) and self._began <= latest

    def give_way(self) -> None:
        """Its place is another's from now on."""
        self._gave_way = True
        self._edge.door.leave(self._peer.network)
        self._session.close(reply.TOO_MANY_CONNECTIONS)
        self._choked = False
        self._wake_up()

    def pauseProducing(self) -> None:
        self._choked = True

    def resumeProducing(self) -> None:
        self._choked = False
        self._wake_up()

    def stopProducing(self) -> None:
        """The connection is lost; connectionLost says so, too."""

    # Shutting down

    def drain(self) -> None:
        if not self._session.in_transaction:
            self.cut()

    def cut(self) -> None:
        if self._wake is not None:
            self._session.close(reply.SHUTTING_DOWN)
            self._choked = False
            self._wake_up()

    def abort(self) -> None:
        self._tcp().abortConnection()

    # The session

    async def _serve(self) -> None:
        """Answer the peer's events one at a time, in the order they came."""
        try:
            while not self._gone:
                if self._answered == TURN:
                    await self._others_first()
                event = None if self._choked else self._session.next_event()
                if event is None:
                    self._write()
                    if self._session.closing:
                        break
                    await self._more()
                elif isinstance(event, events.StartTls):
                    self._write()
                    self._start_tls()
                else:
                    await self._answer(event)
        except Exception as error:  # nobody waits for us: say it here
            maillog.bug("serving a session", error)
        finally:
            await self._submission.closed()
            self._hang_up()

    async def _answer(self, event: Event) -> None:
        if isinstance(event, _SLOW_EVENTS):
            self._write()
        self._answered += 1
        self._deadline.clear()
        self._session.answer(await self._decide(event))
        if self._session.signed_in and isinstance(event, events.Authenticate):
            self._edge.signed_in_from(self._peer.trust_network)
        if isinstance(event, events.BodyStart):
            most = self._edge.rules.limits.message_size
            self._body_until = self._edge.clock.seconds() + 600.0 + most / SLOWEST
        if self._edge.draining and not self._session.in_transaction:
            self._session.close(reply.SHUTTING_DOWN)

    async def _decide(self, event: Event) -> Reply | None:
        began = self._edge.clock.seconds()
        try:
            return await self._submission.decide(event)
        except Refused as refused:
            return refused.reply
        except StorageFull as full:
            maillog.store_unavailable("taking a message", str(full))
            return reply.STORE_FULL
        except Unavailable as away:
            maillog.store_unavailable("taking a message", str(away))
            return reply.SERVICE_ERROR
        except Exception as error:
            maillog.bug(f"deciding on {type(event).__name__}", error)
            return reply.SERVICE_ERROR
        finally:
            if not isinstance(event, events.BodyPart):
                self._edge.counts.decided(self._session.verb, self._edge.clock.seconds() - began)

    async def _more(self) -> None:
        """Wait until the peer says or takes something."""
        self._answered = 0
        self._wait_for_peer()
        if not self._choked:
            self._listen_again()
        self._wake = Deferred()
        await self._wake

    def _listen_again(self) -> None:
        if self._deaf:
            self._deaf = False
            self._tcp().resumeProducing()

    def _read_all(self) -> None:
        """Take the records of a large message that came at once: each by itself costs more than what is in it."""
        self._reads_soon = False
        self._wake_up()

    def _others_first(self) -> Deferred[None]:
        """Let the reactor do what waits: a full buffer of quick commands must not hold up other sessions."""
        self._answered = 0
        turn: Deferred[None] = Deferred()
        self._edge.clock.callLater(0.0, turn.callback, None)
        return turn

    def _wake_up(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    def _write(self) -> None:
        data = self._session.data_to_send()
        if data:
            self._deadline.clear()  # what comes next has a new one
            if not self._gone:
                self._tcp().write(data)

    # Time

    def _wait_for_peer(self) -> None:
        """Set the deadline for what the peer has to do next; one that runs already is not moved by mere octets."""
        now = self._edge.clock.seconds()
        if self._handshake:
            self._deadline.within(HANDSHAKE_WAIT)
        elif self._session.in_body:
            self._deadline.within(max(0.0, min(BODY_WAIT, self._body_until - now)))
        elif not self._deadline.running:
            wait = COMMAND_WAIT
            if not self._session.signed_in:
                wait = max(0.0, min(wait, self._began + SIGN_IN_WAIT - now))
            self._deadline.within(wait)

    def _expired(self) -> None:
        if self._ending or self._handshake:
            self.abort()
            return
        self._session.close(reply.IDLE)
        self._choked = False
        self._wake_up()

    # The connection

    def _start_tls(self) -> None:
        self._handshake = True
        self._session.tls_started()
        self._edge.tls.start(self._tcp(), self)
        self._wait_for_peer()

    def _turn_away(self) -> None:
        """Say why where we can: a client that expects TLS would not understand it in clear."""
        self._ending = True
        if self._listen.security != "tls":
            self._tcp().write(reply.TOO_MANY_CONNECTIONS.encode())
        self._tcp().loseConnection()
        self._deadline.within(LINGER)

    def _hang_up(self) -> None:
        """Let the peer read our last words, but not for ever. A producer would keep the transport open."""
        if not self._gone and not self._ending:
            self._ending = True
            self._listen_again()  # for the peer's half of closing TLS
            self._tcp().unregisterProducer()
            self._tcp().loseConnection()
            self._deadline.within(LINGER if not self._edge.draining else LINGER_AT_STOP)

    def _tcp(self) -> Any:
        return cast(ITCPTransport, self.transport)


def _settings(rules: Rules, listen: Listen) -> SessionSettings:
    return SessionSettings(
        rules.hostname,
        starttls=listen.security == "starttls",
        implicit_tls=listen.security == "tls",
        plaintext_auth=listen.allow_plaintext_auth,
        errors=rules.limits.errors_per_session,
        auth_failures=rules.limits.auth_failures_per_session,
        messages=rules.limits.messages_per_session,
        octets=2 * rules.limits.message_size,
    )
