"""How a connection begins: with a session at once, or, where it comes from a trusted proxy, after its PROXY header.

Theory of operation. The header stands in clear before everything else, before TLS too, so nothing of a session may
exist until it is there: a `ProxiedConnection` reads it, then puts a session in its own place on the transport, and
hands over what came behind the header. Until then the connection has a place in the total, but in no network.
"""

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from gateway import maillog
from gateway.config import Listen
from gateway.deadline import Deadline
from gateway.edge import proxy_protocol
from gateway.edge.edge import Edge
from gateway.edge.limits import Admission, is_within, network_of
from gateway.edge.proxy_protocol import BadHeader
from gateway.edge.server import SubmissionProtocol

HEADER_WAIT = 5.0  # seconds for the whole header; the specification wants 3 at least, for a TCP segment sent twice
SAY_EVERY = 60.0  # seconds between two log lines about a listener's refused proxies, or networks that are too fast


class SubmissionFactory(Factory):
    """Connections of one listener."""

    noisy = False

    def __init__(self, edge: Edge, listen: Listen) -> None:
        self.edge = edge
        self.listen = listen
        self._said_until = self._fast_until = 0.0
        self._unsaid = 0

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """None closes a connection of a network that opens too many: without a word, or a flood of them would cost as much."""
        if is_within(addr.host, self.listen.proxy_protocol_from):
            return ProxiedConnection(self)
        edge = self.edge
        per_minute, rules = edge.rules.limits.new_connections_per_network, edge.lockout
        network = network_of(addr.host, rules.ipv4_prefix, rules.ipv6_prefix)
        if edge.pace.admit(network, edge.clock.seconds(), per_minute) or is_within(addr.host, rules.allow):
            return self.session()
        self._too_fast(network)
        return None

    def session(self, client: str = "") -> SubmissionProtocol:
        return SubmissionProtocol(self.edge, self.listen, client)

    def count(self, admission: Admission) -> None:
        self.edge.metrics.connections_total.labels(self.listen.label, admission.value).inc()

    def _too_fast(self, network: str) -> None:
        """Count it, and say it now and then."""
        self.count(Admission.TOO_FAST)
        now = self.edge.clock.seconds()
        if now >= self._fast_until:
            maillog.connection_refused(network, Admission.TOO_FAST.value)
            self._fast_until = now + SAY_EVERY

    def proxy_refused(self, proxy: str, reason: str) -> None:
        """Count it, and say it now and then: a proxy without the header is refused at each of its connections."""
        self.count(Admission.PROXY_REFUSED)
        self._unsaid += 1
        now = self.edge.clock.seconds()
        if now >= self._said_until:
            maillog.proxy_refused(self.listen.label, proxy, reason, self._unsaid)
            self._unsaid, self._said_until = 0, now + SAY_EVERY


class ProxiedConnection(Protocol):
    """A connection from a proxy, as long as its header is not complete."""

    def __init__(self, listener: SubmissionFactory) -> None:
        self._listener = listener
        self._edge = listener.edge
        self._deadline = Deadline(self._edge.clock, self._expired)
        self._received = b""
        self._reserved = self._ending = False

    def connectionMade(self) -> None:
        self._reserved = self._edge.door.reserve()
        if not self._reserved:
            self._begin("", b"")  # the session finds no place either, and knows how to say so
            return
        self._edge.sessions[self] = None
        self._deadline.within(HEADER_WAIT)  # not moved by anything that arrives

    def dataReceived(self, data: bytes) -> None:
        if self._ending:
            return
        self._received += data
        try:
            header = proxy_protocol.read(self._received)
        except BadHeader as bad:
            self._refuse(str(bad))
            return
        if header is not None:
            self._begin(header.client, self._received[header.length :])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._ending:
            self._listener.count(Admission.PROXY_GONE)
        self._leave()

    def drain(self) -> None:
        self._end()

    def cut(self) -> None:
        self._end()

    def abort(self) -> None:
        self._tcp().abortConnection()

    trust_network = ""  # it is not known yet

    def gives_way(self, latest: float) -> bool:
        """It ends by itself in a few seconds."""
        return False

    def give_way(self) -> None:
        """Nobody asks for it."""

    def _begin(self, client: str, more: bytes) -> None:
        """Give the connection to a session, which may start TLS at once; `more` is for whoever reads the transport then."""
        self._leave()
        transport = self._tcp()
        transport.protocol = session = self._listener.session(client)
        session.makeConnection(transport)  # type: ignore[no-untyped-call]
        if more:
            transport.protocol.dataReceived(more)

    def _leave(self) -> None:
        self._deadline.stop()
        if self._reserved:
            self._edge.door.release()
            self._edge.left(self)

    def _expired(self) -> None:
        self._refuse("its PROXY header did not come in time")

    def _refuse(self, reason: str) -> None:
        self._listener.proxy_refused(self._tcp().getPeer().host, reason)
        self._end()

    def _end(self) -> None:
        """Without a word: in clear, before the header, nothing of ours would be understood."""
        self._ending = True
        self._deadline.stop()
        self._tcp().loseConnection()

    def _tcp(self) -> Any:
        return self.transport
