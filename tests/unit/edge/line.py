"""A session over a connection in memory that can be as slow, deaf or broken as a test wants it."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from gateway.config import Listen
from gateway.edge.server import SubmissionFactory, SubmissionProtocol
from gateway.queue.model import Added, NewMessage
from tests.harness import Gateway, Security, Wire
from tests.queued import taken

HELLO = b"EHLO client.example\r\n"
AUTH = b"AUTH PLAIN AGRlbW9AZXhhbXBsZS5jb20Ac2VjcmV0\r\n"
WRONG_AUTH = b"AUTH PLAIN AGRlbW9AZXhhbXBsZS5jb20Ad3Jvbmc=\r\n"
ENVELOPE = b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<friend@example.net>\r\nDATA\r\n"
MESSAGE = b"Subject: s\r\n\r\nhello\r\n.\r\n"


class SlowQueue:
    """Acceptance that takes each message when the test fires `answers[n]`; `accepted` has those it took."""

    def __init__(self) -> None:
        self.answers: list[Deferred[None]] = []
        self.accepted: list[NewMessage] = []

    async def accept(self, message: NewMessage) -> Added:
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        await answer
        self.accepted.append(message)
        return taken(message)


class NotedWire(Wire):
    """Keeps each write apart; with `stuck` the peer takes nothing and the transport says so at once, as a full one does."""

    def __init__(self, host: str) -> None:
        address = IPv6Address("TCP", host, 4000) if ":" in host else IPv4Address("TCP", host, 4000)
        super().__init__(peerAddress=address)  # type: ignore[no-untyped-call]
        self.writes: list[bytes] = []
        self.stuck = False

    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        self.writes.append(data)
        producer: Any = self.producer
        if self.stuck and producer is not None:
            producer.pauseProducing()


class Line:
    """One connection to `gateway`, not yet greeted over TLS when `security` is "tls": see `handshake`."""

    def __init__(self, gateway: Gateway, security: Security = "starttls", *, host: str = "192.0.2.7") -> None:
        self.gateway = gateway
        self.wire = NotedWire(host)
        self.protocol: SubmissionProtocol = SubmissionFactory(gateway.edge, Listen(security=security)).buildProtocol(None)
        self.protocol.makeConnection(self.wire)  # type: ignore[no-untyped-call]

    @classmethod
    def signed_in(cls, gateway: Gateway) -> "Line":
        line = cls(gateway, "tls")
        line.protocol.handshakeCompleted()
        line.say(HELLO, AUTH)
        assert line.heard()[-1] == 235
        return line

    def say(self, *octets: bytes) -> None:
        for part in octets:
            self.protocol.dataReceived(part)

    def text(self) -> str:
        """What was written since the last call."""
        said = b"".join(self.wire.writes).decode()
        self.wire.writes.clear()
        return said

    def heard(self) -> list[int]:
        """The codes of the replies written since the last call."""
        return [int(line[:3]) for line in self.text().splitlines() if line[3] == " "]

    def advance(self, seconds: float) -> None:
        self.gateway.clock.advance(seconds)

    def hang_up(self) -> None:
        """The peer has gone."""
        self.wire.connected = False
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def closing(self) -> bool:
        return bool(self.wire.disconnecting)

    @property
    def cut(self) -> bool:
        """Closed the hard way."""
        return bool(self.wire.disconnected)

    @property
    def reading(self) -> bool:
        return bool(self.wire.producerState == "producing")
