"""A connection that sends at once: order and amount over real sockets, whatever the peer does meanwhile."""

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from gateway.prompt import ACCEPTS, prompt, write_promptly

reactor: Any = global_reactor
BLOCK = bytes(range(256)) * 4096  # a MiB


class End(Protocol):
    """One end: keeps what it hears; `gone` fires when the connection is over."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.paused = 0
        self.made: Deferred[End] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None

    @property
    def wire(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self._wanted is not None and len(self.heard) >= self._wanted[0]:
            wanted, self._wanted = self._wanted, None
            wanted[1].callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)

    def until(self, octets: int) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._wanted = octets, waiting
        self.dataReceived(b"")
        return waiting

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class PromptTest(TestCase):
    @inlineCallbacks
    def setUp(self) -> Any:  # type: ignore[override]
        self.server, self.client = End(), End()
        listening = reactor.listenTCP(0, Factory.forProtocol(lambda: self.server), interface="127.0.0.1")
        prompt(listening)
        self.addCleanup(listening.stopListening)
        yield connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port), self.client)
        yield self.server.made
        self.addCleanup(self.end)

    def end(self) -> Deferred[None]:
        self.server.wire.abortConnection()
        self.client.wire.abortConnection()
        return self.server.gone.addCallback(lambda _: self.client.gone)

    @inlineCallbacks
    def test_a_short_reply_waits_for_nothing(self) -> Any:
        self.server.wire.write(b"250 OK\r\n")
        assert self.server.wire not in reactor.getWriters()
        yield self.client.until(8)
        assert bytes(self.client.heard) == b"250 OK\r\n"

    @inlineCallbacks
    def test_nor_does_a_short_line_of_a_client(self) -> Any:
        write_promptly(self.client.wire, b"EHLO gw.example\r\n")
        assert self.client.wire not in reactor.getWriters()
        yield self.server.until(17)
        assert bytes(self.server.heard) == b"EHLO gw.example\r\n"

    @inlineCallbacks
    def test_a_port_accepts_few_connections_in_a_turn(self) -> Any:
        listening = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1", backlog=100)
        self.addCleanup(listening.stopListening)
        listening.stopReading()
        built: list[int] = []
        turns = 0
        listening.factory.buildProtocol = lambda addr: built.append(turns)
        clients = [socket.create_connection(("127.0.0.1", listening.getHost().port)) for _ in range(3 * ACCEPTS)]
        prompt(listening).startReading()
        while len(built) < len(clients):
            turns += 1
            yield deferLater(reactor, 0)
        for client in clients:
            client.close()
        assert max(built.count(turn) for turn in built) <= ACCEPTS

    @inlineCallbacks
    def test_a_line_goes_behind_what_waits(self) -> Any:
        self.server.wire.pauseProducing()
        self.client.wire.write(BLOCK * 12)
        write_promptly(self.client.wire, b"last")
        self.server.wire.resumeProducing()
        yield self.server.until(12 * len(BLOCK) + 4)
        assert bytes(self.server.heard) == BLOCK * 12 + b"last"

    @inlineCallbacks
    def test_nor_does_a_line_overtake_what_was_begun(self) -> Any:
        self.server.wire.pauseProducing()
        self.client.wire.write(BLOCK * 12)
        while self.client.wire._tempDataLen:  # until the reactor has sent some of it
            yield deferLater(reactor, 0.001)
        assert self.client.wire.dataBuffer
        write_promptly(self.client.wire, b"last")
        self.server.wire.resumeProducing()
        yield self.server.until(12 * len(BLOCK) + 4)
        assert bytes(self.server.heard) == BLOCK * 12 + b"last"

    @inlineCallbacks
    def test_a_peer_that_does_not_read_gets_all_of_it_later_in_order(self) -> Any:
        self.server.wire.registerProducer(self.server, True)
        self.client.wire.pauseProducing()
        for _ in range(12):
            self.server.wire.write(BLOCK)
        self.server.wire.write(b"last")
        assert self.server.paused
        self.client.wire.resumeProducing()
        yield self.client.until(12 * len(BLOCK) + 4)
        assert bytes(self.client.heard) == BLOCK * 12 + b"last"

    @inlineCallbacks
    def test_what_was_written_before_closing_arrives(self) -> Any:
        self.server.wire.write(BLOCK * 12)
        self.server.wire.write(b"221 Bye\r\n")
        self.server.wire.loseConnection()
        yield self.client.gone
        assert bytes(self.client.heard) == BLOCK * 12 + b"221 Bye\r\n"

    @inlineCallbacks
    def test_writing_to_one_that_is_gone_ends_it_without_an_exception(self) -> Any:
        self.server.wire.pauseProducing()  # so that only writing finds it out
        self.client.wire.abortConnection()
        yield self.client.gone
        self.server.wire.write(b"x")
        self.server.wire.write(b"x")
        yield self.server.gone
        self.server.wire.write(b"x")
        write_promptly(self.client.wire, b"x")
