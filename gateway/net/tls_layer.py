"""TLS on a connection: takes a protocol's place on its transport, and is the transport of that protocol from then on.

Theory of operation. Octets from the network go into one memory buffer and OpenSSL reads them there; what it has to say lies in
another one, from where it goes to the network in one write. Nothing here waits: what a handshake or a record still lacks comes
with the next octets. Twisted's own layer does the same through pyOpenSSL, at about three times the processor time for a command
and its reply (benchmarks/NOTES.md): each of its calls gives up Python's lock, and each group of octets ends in an exception.

A client's certificate check is OpenSSL's own, within the handshake (RFC 9525): nothing that `inner` writes leaves before it is
done, and an exception anywhere in it ends the connection.

Closing (RFC 8446 section 6.1): our close_notify goes behind what was written before; what the peer still says is dropped, until
its own close_notify comes or the connection ends. Whoever closes has to see to it that this does not take for ever.
"""

import ssl
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from gateway.prompt import write_promptly

_RECORD = 16 * 1024  # octets of text in a record at most, RFC 8446 section 5.1
# Octets of TLS's own answers in a connection, to changes of keys (section 4.6.3) and to wishes to renegotiate. An honest peer
# gets a few in its life; one that asks for ever and does not read must not fill our memory with them.
MAX_ANSWERS = 16 * 1024
AT_ONCE = 64 * 1024  # octets: more waits for its turn in the reactor


# OpenSSL's own names of the suites of TLS 1.2 that a server of ours takes; those of 1.3 have no others than the registered ones
_REGISTERED = {
    f"ECDHE-{key}-{suite}": f"TLS_ECDHE_{key}_WITH_{registered}"
    for key in ("ECDSA", "RSA")
    for suite, registered in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
    )
}


class TlsLayer(Protocol):
    """`inner` is told `handshakeCompleted()`, and gets and gives plain text; it may write before that.

    The server's side, or with `asked`, the name or address of the other end as `context` is to check it, the client's. When the
    handshake fails, `inner` loses its connection for that ssl.SSLError.
    """

    def __init__(self, context: ssl.SSLContext, inner: Any, *, asked: str | None = None) -> None:
        self._inner = inner
        self._server = asked is None
        self._received: Any = ssl.MemoryBIO()
        self._to_send: Any = ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(self._received, self._to_send, self._server, asked)
        self._failure: ssl.SSLError | None = None
        self._early = b""  # written before the handshake was done
        self._answers = 0  # octets of what TLS has answered by itself
        self._shaken = self._closing = self._over = False

    def start(self, transport: Any) -> None:
        """Go between `transport` and its protocol."""
        self.transport = transport
        transport.protocol = self
        self._inner.transport = self
        if not self._server:
            self._shake_hands()

    @property
    def version(self) -> str:
        """ "TLSv1.3", once the handshake is done."""
        version: str = self._tls.version()
        return version

    @property
    def cipher_suite(self) -> str:
        """The name that is registered for it, once the handshake is done: "TLS_AES_128_GCM_SHA256"."""
        name: str = self._tls.cipher()[0]
        return _REGISTERED.get(name, name)

    # What the transport calls

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._received.write(data)
        try:
            if self._shaken or self._shake_hands():
                self._read()
        except ssl.SSLError as error:  # not TLS, nothing in common, a broken record: OpenSSL has written the alert
            self._failure = error
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = self._closing = True
        self._tls = self._received = self._to_send = None  # OpenSSL's memory is not for the collector of cycles
        self._inner.connectionLost(reason if self._failure is None else Failure(self._failure))

    # What the inner protocol calls

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        if self._shaken:
            self._tls.write(data)  # all of it: the buffer has no end
            self._flush()
        else:
            self._early += data

    def loseConnection(self) -> None:
        if not self._closing:
            self._closing = True
            if self._shaken:
                self._say_goodbye()

    def abortConnection(self) -> None:
        self._over = self._closing = True
        self._tcp().abortConnection()

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self._tcp().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._tcp().unregisterProducer()

    def pauseProducing(self) -> None:
        self._tcp().pauseProducing()

    def resumeProducing(self) -> None:
        self._tcp().resumeProducing()

    # Within

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._shaken = True
        if self._early:
            self._tls.write(self._early)
        # All that a server has to say now in 1.3 is a ticket, which goes with our next words
        if self._early or not self._server or self.version != "TLSv1.3":
            self._flush()
        self._early = b""
        self._inner.handshakeCompleted()
        if self._closing and not self._over:
            self._say_goodbye()
        return True

    def _read(self) -> None:
        """Hand on what the records hold that are there; what TLS answers to them goes out with the inner protocol's answer."""
        if not self._received.pending:
            return
        texts, ended = [], False
        try:
            while self._received.pending and not ended:
                texts.append(self._tls.read(_RECORD))
                ended = not texts[-1]  # the peer's close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        self._answers += self._to_send.pending
        if self._answers > MAX_ANSWERS:
            self.abortConnection()
        text = b"".join(texts)
        if text and not self._closing:
            self._inner.dataReceived(text)
        if not self._over:
            self._flush()
        if ended and not self._over:
            self._end()

    def _flush(self) -> None:
        if not self._to_send.pending:
            return
        data = self._to_send.read()
        if self._server or len(data) >= AT_ONCE:  # a server's transport sends at once by itself
            self._tcp().write(data)
        else:
            write_promptly(self._tcp(), data)

    def _say_goodbye(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._flush()  # the peer's answer is still to come
        except ssl.SSLError:
            self._end()
        else:
            self._end()

    def _end(self) -> None:
        """Nothing more can be read; what we have to say goes out first."""
        if not self._closing and self._shaken:
            self._closing = True
            self._say_goodbye()
            return
        self._closing = self._over = True
        self._flush()
        if self._tcp().producer is not None:  # it would keep the connection open
            self._tcp().unregisterProducer()
        self._tcp().loseConnection()

    def _tcp(self) -> Any:
        return self.transport
