"""A test case with servers on loopback that misbehave as told, and hops that lead to them."""

import ssl
from collections.abc import Coroutine, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme
from prometheus_client import CollectorRegistry
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from gateway.config import NextHop
from gateway.metrics import Metrics
from gateway.net.tls_layer import TlsLayer
from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage
from gateway.relay.connection import LIMITS
from gateway.relay.next_hops import NextHops
from gateway.relay.pool import SmtpHop
from gateway.smtp.client_events import Stage
from tests.unit.relay.faulty_hop import BlockBodies, FaultyHop, message, port_of, trusted
from tests.unit.sockets import all_closed

reactor: Any = global_reactor
AUTHORITY = trustme.CA()


class ServerTls:
    """The TLS of a server: a certificate for `name`, or none."""

    def __init__(self, name: str = "", authority: trustme.CA = AUTHORITY) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if name:
            authority.issue_cert(name).configure_cert(self.context)

    def start(self, transport: Any, protocol: Any) -> None:
        TlsLayer(self.context, protocol).start(transport)


class HopTest(TestCase):
    """Starts servers and hops, and ends them after each test."""

    def setUp(self) -> None:
        self.addCleanup(all_closed)
        self.metrics = Metrics(CollectorRegistry())
        self.bodies = BlockBodies()

    def serve(self, faulty: FaultyHop) -> int:
        listening = reactor.listenTCP(0, faulty, interface="127.0.0.1")
        self.addCleanup(faulty.drop_all)
        self.addCleanup(listening.stopListening)
        return port_of(listening)

    def hop(
        self,
        port: int,
        *,
        connections: int = 20,
        limits: Mapping[Stage, float] = LIMITS,
        reactor: Any = reactor,
        **options: Any,
    ) -> SmtpHop:
        hop = NextHop(**{"kind": "smtp", "host": "127.0.0.1", "port": port, **options})
        made = SmtpHop(
            hop,
            hostname="gw.example",
            connections=connections,
            bodies=self.bodies,
            reactor=reactor,
            metrics=self.metrics,
            limits=limits,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close()))
        return made

    def authority_file(self) -> Path:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "ca.pem"
        AUTHORITY.cert_pem.write_to_path(str(path))
        return path

    def connections(self, hop: SmtpHop, state: str) -> float | None:
        return self.metrics.registry.get_sample_value("smtp_gateway_hop_connections", {"hop": hop.label, "state": state})


async def send(hop: SmtpHop | NextHops, queued: QueuedMessage | None = None, lease: Lease | None = None) -> list[Outcome]:
    queued = queued or message()
    return await hop.deliver(queued, queued.recipients, lease or trusted(queued))


def asynchronous(coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(coroutine)
