"""A next hop on a real socket that misbehaves as it is told, and messages to send it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.errors import Unavailable
from gateway.queue.lease import TRUSTED, Lease
from gateway.queue.model import BodyRef, Envelope, Field, Inline, QueuedMessage, Recipient, Spooled
from gateway.queue.ports import BodyWriter

DROP = b"<drop>"
SILENT = b"<silent>"
GOOD = {
    "GREETING": b"220 faulty.example ESMTP\r\n",
    "STARTTLS": b"220 2.0.0 go\r\n",
    "AUTH": b"235 2.7.0 in\r\n",
    "DATA": b"354 go\r\n",
    "DOT": b"250 2.0.0 queued\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}


class FaultyHop(Factory):
    """`answers[verb]` are given first, one for each time the verb comes; then GOOD, or 250.

    With `mute` a session that was SILENT once says nothing more. Without `tls` no handshake follows STARTTLS.
    """

    def __init__(self, extensions: Iterable[str] = ("PIPELINING",), tls: Any = None, *, implicit: bool = False) -> None:
        self.extensions = list(extensions)
        self.tls = tls
        self.implicit = implicit
        self.mute = False
        self.answers: dict[str, list[bytes]] = defaultdict(list)
        self.verbs: list[str] = []
        self.on_data: Callable[[], None] | None = None  # called once, when DATA comes
        self.messages: list[bytes] = []
        self.open: list[FaultySession] = []
        self.connections = 0
        self.most_open = 0
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._heard: list[tuple[str, int, Deferred[None]]] = []

    def buildProtocol(self, addr: object) -> "FaultySession":
        return FaultySession(self)

    def answer(self, verb: str) -> bytes:
        self.verbs.append(verb)
        for each in [each for each in self._heard if self.verbs.count(each[0]) >= each[1]]:
            self._heard.remove(each)
            each[2].callback(None)
        if self.answers[verb]:
            return self.answers[verb].pop(0)
        if verb == "EHLO":
            lines = ["faulty.example", *self.extensions]
            return "".join(f"250{' ' if i == len(lines) - 1 else '-'}{line}\r\n" for i, line in enumerate(lines)).encode()
        return GOOD.get(verb, b"250 2.1.0 ok\r\n")

    def until_open(self, count: int) -> Deferred[None]:
        """Fires once `count` connections are open."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((count, waiting))
        self.changed()
        return waiting

    def until(self, verb: str, count: int) -> Deferred[None]:
        """Fires once `verb` has come so many times."""
        heard: Deferred[None] = Deferred()
        if self.verbs.count(verb) >= count:
            heard.callback(None)
        else:
            self._heard.append((verb, count, heard))
        return heard

    def changed(self) -> None:
        self.most_open = max(self.most_open, len(self.open))
        ready = [waiting for count, waiting in self._waiting if count == len(self.open)]
        self._waiting = [(count, waiting) for count, waiting in self._waiting if count != len(self.open)]
        for waiting in ready:
            waiting.callback(None)

    def stop_reading(self) -> None:
        for session in self.open:
            transport: Any = session.transport
            transport.pauseProducing()

    def drop_all(self) -> Deferred[None]:
        for session in list(self.open):
            session.drop()
        return self.until_open(0)


class FaultySession(Protocol):
    def __init__(self, hop: FaultyHop) -> None:
        self.hop = hop
        self.buffer = b""
        self.in_data = False
        self.encrypted = hop.implicit
        self.silent = False

    def connectionMade(self) -> None:
        self.hop.open.append(self)
        self.hop.connections += 1
        self.hop.changed()
        transport: Any = self.transport
        if self.hop.implicit:
            self.hop.tls.start(transport, self)
        self.say("GREETING")

    def handshakeCompleted(self) -> None:
        """Told by the TLS layer."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.hop.open.remove(self)
        self.hop.changed()

    def drop(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def say(self, verb: str) -> bytes:
        answer = self.hop.answer(verb)
        self.silent = answer == SILENT or (self.silent and self.hop.mute)
        if answer == DROP:
            self.drop()
        elif not self.silent:
            transport: Any = self.transport
            transport.write(answer)
        return answer

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while self.message() if self.in_data else self.command():
            pass

    def message(self) -> bool:
        text, end, rest = (b"\r\n" + self.buffer).partition(b"\r\n.\r\n")
        if not end:
            return False
        self.buffer, self.in_data = rest, False
        self.hop.messages.append((text[2:] + b"\r\n").replace(b"\r\n..", b"\r\n."))
        self.say("DOT")
        return True

    def command(self) -> bool:
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return False
        self.buffer = rest
        verb = line.split(b" ")[0].decode("latin-1")  # it may be part of a TLS handshake
        answer = self.say(verb)
        transport: Any = self.transport
        if verb == "DATA" and answer.startswith(b"354"):
            self.in_data = True
            happens, self.hop.on_data = self.hop.on_data, None
            if happens is not None:
                happens()
        if verb == "STARTTLS" and answer.startswith(b"220"):
            self.buffer, self.encrypted = b"", True
            if self.hop.tls is not None:
                self.hop.tls.start(transport, self)
        if verb == "QUIT":
            transport.loseConnection()
        return True


def port_of(listening: IListeningPort) -> int:
    address: Any = listening.getHost()
    return int(address.port)


# Messages


def message(*addresses: str, header: bytes = b"Subject: s\r\n\r\n", body: BodyRef | None = None) -> QueuedMessage:
    recipients = tuple(
        Recipient(n, text, Field.TO, "", "", 0, False) for n, text in enumerate(addresses or ("b@y.example",), 1)
    )
    envelope = Envelope("a@x.example")
    return QueuedMessage("0123456789abcdef", "1", envelope, header, body or Inline(b"hello\r\n"), 0.0, recipients)


def eight_bit(plain: QueuedMessage) -> QueuedMessage:
    return replace(plain, envelope=replace(plain.envelope, eight_bit=True))


def trusted(message: QueuedMessage) -> Lease:
    """The lease of a message just taken."""
    return Lease(Store().still_ours, message.recipients, Clock(), 0.0)


class Store:
    """What a store says of leases: `gone` (ids) are another's by now. `looks` has each question; `away` answers none."""

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.looks = 0
        self.away = False
        self.slow: Deferred[None] | None = None

    async def still_ours(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        self.looks += 1
        if self.slow is not None:
            await self.slow
        if self.away:
            raise Unavailable("away")
        return [recipient for recipient in recipients if recipient.id not in self.gone]

    def lease(self, message: QueuedMessage, clock: Clock, *, age: float = TRUSTED + 1) -> Lease:
        """Taken `age` seconds ago: by default so long that the store is asked."""
        return Lease(self.still_ours, message.recipients, clock, clock.seconds() - age)


class BlockBodies:
    """Bodies, for reading only: a spooled one consists of `blocks`; `fail_at` is the block that cannot be read."""

    def __init__(self, blocks: Iterable[bytes] = (), fail_at: int | None = None) -> None:
        self.blocks = list(blocks)
        self.fail_at = fail_at
        self.readers: list[BlockReader] = []

    def open(self, body: BodyRef) -> Deferred["BlockReader"]:
        blocks = [body.data] if isinstance(body, Inline) else self.blocks
        self.readers.append(BlockReader(iter(blocks), self.fail_at))
        return succeed(self.readers[-1])

    def create(self, name: str) -> Deferred[BodyWriter]:
        return fail(Unavailable("for reading only"))

    def remove(self, body: Spooled) -> Deferred[None]:
        return succeed(None)


class BlockReader:
    def __init__(self, blocks: Iterator[bytes], fail_at: int | None) -> None:
        self.blocks = blocks
        self.fail_at = fail_at
        self.reads = 0
        self.closed = False

    def read(self) -> Deferred[bytes]:
        self.reads += 1
        if self.reads - 1 == self.fail_at:
            return fail(Unavailable("the disk is gone"))
        return succeed(next(self.blocks, b""))

    def close(self) -> None:
        self.closed = True
