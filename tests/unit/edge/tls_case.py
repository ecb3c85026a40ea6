"""A TLS client in memory for a gateway's TLS layer: what either side says is carried over by `run`."""

import ssl
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from gateway.edge.tls import ServerTls


class Inner(Protocol):
    """Notes what it is told; `answers` maps what it hears to what it says."""

    def __init__(self) -> None:
        self.heard = b""
        self.told: list[str] = []
        self.answers: dict[bytes, bytes] = {}

    @property
    def layer(self) -> Any:
        """The transport that it has."""
        return self.transport

    def handshakeCompleted(self) -> None:
        self.told.append("handshake")

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        for heard, said in self.answers.items():
            if heard in data:
                self.layer.write(said)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append("lost")


class TlsTalk:
    """A client and `inner` behind `tls`, on a wire of memory."""

    def __init__(self, tls: ServerTls, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        wire: Any = StringTransport()
        self.wire = wire
        self.inner = Inner()
        self.wire.protocol = self.inner
        self.inner.makeConnection(self.wire)  # type: ignore[no-untyped-call]
        tls.start(self.wire, self.inner)
        self._in, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self.out, session=session)
        self.heard = b""
        self.closed = self.shaken = False

    def run(self, piece: int = 1 << 20) -> None:
        """Carry octets both ways, `piece` at a time, until neither side has any."""
        while True:
            self._listen()
            octets = self.out.read()
            if not octets:
                return
            for start in range(0, len(octets), piece):
                self.wire.protocol.dataReceived(octets[start : start + piece])

    def say(self, octets: bytes) -> None:
        self.client.write(octets)

    def _listen(self) -> None:
        self._in.write(self.wire.value())
        self.wire.clear()
        try:
            if not self.shaken:
                self.client.do_handshake()
                self.shaken = True
            while more := self.client.read(1 << 16):
                self.heard += more
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True


def client_context() -> ssl.SSLContext:
    """A client that believes whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
