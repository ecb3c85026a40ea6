"""A gateway in memory, for tests of the conversation: the real edge, session, rules and sign-in over ports a test can break.

`Gateway` is the world (login table, hashes, queue, bodies, settings), `Client` one connection to it. Nothing here waits:
what a client sends is answered when `send` returns.
"""

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from gateway.accounts.model import LoginRow
from gateway.accounts.ports import Busy
from gateway.address import Address
from gateway.config import Limits, Listen, Lockout, Senders
from gateway.edge.edge import Edge
from gateway.edge.limits import Door
from gateway.edge.listener import SubmissionFactory
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.queue.allowance import OnLimit, Terms
from gateway.queue.model import Added, Field, Inline, NewMessage
from gateway.submission import Rules
from tests.fakes import FakeBodies, FakeLedger, FakeOutbox
from tests.sign_in import SignIn

Security = Literal["starttls", "tls", "none"]

HOSTNAME = "gateway.example"
CLIENT = "192.0.2.7"
EPOCH = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 +0000
CEILING = 1_000_000  # octets

DEMO = LoginRow("1", "demo@example.com", "stored:secret")
SMALL = LoginRow("2", "small@example.com", "stored:secret", max_message_size=200)
DISABLED = LoginRow("3", "disabled@example.com", "stored:secret", active=False)
WEB_ONLY = LoginRow("4", "webonly@example.com", "stored:secret", smtp_enabled=False)
CLERK = LoginRow("5", "clerk", "stored:secret")  # a login that is no address
JOERG = LoginRow("6", "jörg@example.com", "stored:secret")


class LoginTable:
    """Directory and AccountRows. Rows by lower-case login, aliases by account id; `away` makes every query fail."""

    def __init__(self, *rows: LoginRow) -> None:
        self.rows = {row.login: row for row in rows}
        self.sender_aliases = {DEMO.id: frozenset({"sales@example.com"})}
        self.away = False

    async def find(self, login: str) -> LoginRow | None:
        self._check()
        return self.rows.get(login.lower())

    async def by_id(self, account_id: str) -> LoginRow | None:
        self._check()
        return next((row for row in self.rows.values() if row.id == account_id), None)

    case_sensitive = False

    def key(self, login: str) -> str:
        return login.lower()

    async def aliases(self, account_id: str) -> frozenset[str]:
        self._check()
        return self.sender_aliases.get(account_id, frozenset())

    def change(self, login: str, **columns: Any) -> None:
        """UPDATE of one row, as the product does it."""
        self.rows[login] = replace(self.rows[login], **columns)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("connection refused")


class PlainHasher:
    """Hasher whose stored form of "secret" is "stored:secret". `busy` makes every hash wait too long."""

    def __init__(self) -> None:
        self.busy = False
        self.slowest = 0.0

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        await self.burn(secret, subject=subject, network=network)
        return stored.encode() == b"stored:" + secret

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        if self.busy:
            raise Busy("too many hashes wait")


class Queue:
    """Acceptance over an outbox, with nobody who delivers."""

    def __init__(self, outbox: FakeOutbox) -> None:
        self._outbox = outbox

    async def accept(self, message: NewMessage) -> Added:
        return await self._outbox.add(message, lease=False)


class Gateway:
    """The world of one test. Its settings are `rules.limits` and `rules.senders`; change them by `limit`."""

    def __init__(self, delay: float = 0.0, **limits: Any) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.table = LoginTable(DEMO, SMALL, DISABLED, WEB_ONLY, CLERK, JOERG)
        self.hasher = PlainHasher()
        self.outbox = FakeOutbox()
        self.ledger = FakeLedger(self.outbox.usage, self.outbox.sent_lately)
        self.bodies = FakeBodies()
        self.sign_in = SignIn(self.table, self.hasher, self.metrics, self.clock, delay=delay, ceiling=CEILING)
        self._ids = 0
        self.rules = Rules(
            HOSTNAME,
            True,
            Limits(message_size=CEILING, **limits),
            Senders(),
            self.sign_in.authenticator,
            self.sign_in.credentials.domains,
            self.ledger,
            self.bodies,
            Queue(self.outbox),
            self.metrics,
            lambda: EPOCH,
            self._new_id,
            Address("help", "example.com"),
        )
        tls: Any = NoTls()
        self.edge = Edge(self.rules, Door(1000, 1000), tls, Lockout(), self.metrics, self.clock)

    def limit(self, **limits: Any) -> None:
        """Change [limits], as a reload does."""
        self.rules.limits = self.rules.limits.model_copy(update=limits)

    def may_send_as_any(self) -> None:
        """Change [senders], as a reload does."""
        self.rules.senders = Senders(envelope="any", header_from="any")

    def use_up(self, recipients: int) -> None:
        """DEMO has sent to so many today, in all, from elsewhere."""
        usage = self.outbox.usage
        day = usage.standing(DEMO.id).day
        usage.days[DEMO.id, day] = Counter({Field.TO.value: recipients})

    def own(self, domain: str, account_id: str) -> None:
        """The domain is this account's from now on."""
        self.sign_in.credentials.domains.owners[domain] = account_id

    def pass_time(self, seconds: float) -> None:
        """By the store's clock."""
        self.outbox.now += seconds

    def suspend(self) -> None:
        """DEMO went over its limit."""
        self.outbox.usage.overstep(DEMO.id, Terms(1, OnLimit.SUSPEND), 2)

    def connect(self, security: Security = "starttls", *, plaintext_auth: bool = False) -> "Client":
        return Client(self, Listen(security=security, allow_plaintext_auth=plaintext_auth))

    def signed_in(self) -> "Client":
        """A client that has just signed in as DEMO."""
        client = self.connect("tls")
        client.send(b"EHLO client.example\r\nAUTH PLAIN AGRlbW9AZXhhbXBsZS5jb20Ac2VjcmV0\r\n")
        assert b"\r\n235 " in client.read()
        return client

    @property
    def queued(self) -> list[NewMessage]:
        return list(self.outbox.messages.values())

    def content(self, message: NewMessage) -> tuple[bytes, bytes]:
        """Header and body as they are queued."""
        body = message.body
        return message.header, body.data if isinstance(body, Inline) else self.bodies.files[body.name]

    def _new_id(self) -> str:
        self._ids += 1
        return f"QUEUEID{self._ids:09}"


class NoTls:
    """Takes any octets for a TLS handshake."""

    def start(self, wire: "Wire", protocol: object) -> None:
        wire.secured = True


class Wire(StringTransport):
    """A TCP connection to nowhere."""

    secured = False
    version = "TLSv1.3"  # of its TLS
    cipher_suite = "TLS_AES_256_GCM_SHA384"
    protocol: Any  # who reads from it

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...


class Client:
    """One connection, from the client's side."""

    def __init__(self, gateway: Gateway, listen: Listen) -> None:
        self._clock = gateway.clock
        self._wire: Any = Wire(peerAddress=IPv4Address("TCP", CLIENT, 40000))  # type: ignore[no-untyped-call]
        self._wire.protocol = SubmissionFactory(gateway.edge, listen).buildProtocol(self._wire.getPeer())  # type: ignore[no-untyped-call]
        self._wire.protocol.makeConnection(self._wire)
        if listen.security == "tls":
            self.handshake()

    def handshake(self) -> None:
        """Finish the TLS handshake that the gateway is ready for."""
        assert self._wire.secured, "the gateway has not begun TLS"
        self._wire.protocol.handshakeCompleted()

    def send(self, octets: bytes) -> None:
        if not self.closed:
            self._wire.protocol.dataReceived(octets)
            self._clock.advance(0)

    def read(self) -> bytes:
        """What the gateway has said since the last call."""
        said: bytes = self._wire.value()
        self._wire.clear()
        return said

    def ask(self, octets: bytes) -> bytes:
        self.send(octets)
        return self.read()

    def leave(self) -> None:
        """The connection is gone."""
        self._wire.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def secured(self) -> bool:
        """Whether TLS is there, or has been begun."""
        return bool(self._wire.secured)

    @property
    def closed(self) -> bool:
        """Whether the gateway has ended the connection."""
        return bool(self._wire.disconnecting)
