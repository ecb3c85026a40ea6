"""Connections of the operators' site: what is refused before it is read, and how many and how long there may be."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gateway.web.channel import ANSWER_WITHIN, LINGER, MAX_CONNECTIONS, REQUEST_WITHIN, BoundedSite


class Wire(StringTransportWithDisconnection):
    """What the peer sees of a connection."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.half_closed = self.reset = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.reset = True
        super().abortConnection()  # type: ignore[no-untyped-call]


class Page(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[Request] = []
        self.slow = False

    def render_GET(self, request: Request) -> Any:
        self.asked.append(request)
        return NOT_DONE_YET if self.slow else b"here\n"


class Server:
    def __init__(self) -> None:
        self.page, self.clock = Page(), Clock()
        self.site = BoundedSite(self.page, self.clock)

    def connect(self) -> tuple[Any, Any]:
        channel: Any = self.site.buildProtocol(None)
        wire: Any = Wire()
        wire.protocol = channel
        channel.makeConnection(wire)
        return channel, wire

    def sent(self, octets: bytes) -> tuple[Any, Any]:
        channel, wire = self.connect()
        channel.dataReceived(octets)
        return channel, wire


@pytest.fixture
def server() -> Server:
    return Server()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_octets", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"405"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"405"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", b"405"),
        (b"CONNECT x:25 HTTP/1.1\r\n\r\n", b"405"),
        (b"get / HTTP/1.1\r\n\r\n", b"405"),
        (GET + b"Content-Length: 1\r\n\r\n", b"413"),
        (GET + b"Content-Length: 010\r\n\r\n", b"413"),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n", b"413"),
        (GET + b"transfer-encoding: identity\r\n\r\n", b"413"),
        (b"HEAD / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", b"413"),
        (GET + b"Content-Length: x\r\n\r\n", b"400"),
        (GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (GET + b"X: y\r\n" * 101 + b"\r\n", b"400"),
        (GET + b"X: " + b"y" * 15000 + b"\r\nY: " + b"y" * 2000 + b"\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_a_request_is_refused_before_its_body_is_read(server: Server, request_octets: bytes, status: bytes) -> None:
    channel, wire = server.sent(request_octets)
    answer = wire.value()
    channel.dataReceived(b"x" * 100000)
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    assert wire.value() == answer
    assert server.page.asked == []
    server.clock.advance(LINGER)
    assert not wire.connected
    assert server.clock.getDelayedCalls() == []


def test_a_refused_connection_is_read_no_further(server: Server) -> None:
    _, wire = server.sent(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nbegin")
    assert wire.producerState == "paused"
    assert wire.half_closed
    assert b"Connection: close\r\n" in wire.value()


@pytest.mark.parametrize("ending", [b"\r\n", b"Content-Length: 0\r\n\r\n", b"X: y\r\n" * 90 + b"\r\n"])
def test_a_request_without_a_body_is_answered(server: Server, ending: bytes) -> None:
    _, wire = server.sent(GET + ending)
    assert wire.value().startswith(b"HTTP/1.1 200 ")
    assert wire.value().endswith(b"here\n")


def test_requests_in_one_go_are_not_all_answered_in_one_turn(server: Server) -> None:
    _, wire = server.sent((GET + b"\r\n") * 1000)
    assert wire.value().count(b"here\n") == 1
    assert not wire.connected


def test_a_connection_is_kept_for_further_requests(server: Server) -> None:
    channel, wire = server.sent(GET + b"\r\n")
    channel.dataReceived(GET + b"\r\n")
    assert wire.value().count(b"here\n") == 2
    server.clock.advance(REQUEST_WITHIN - 1)
    channel.dataReceived(GET + b"\r\n")
    assert wire.value().count(b"here\n") == 3
    server.clock.advance(REQUEST_WITHIN)
    assert wire.reset


def test_octets_do_not_give_a_request_more_time(server: Server) -> None:
    channel, wire = server.connect()
    for octet in b"GET / HTTP/1.1":
        channel.dataReceived(bytes([octet]))
        server.clock.advance(REQUEST_WITHIN / 10)
    assert wire.reset


def test_a_client_has_to_take_its_answer_in_time(server: Server) -> None:
    """The transport of the test closes at once; that of a slow reader stays open."""
    channel, wire = server.connect()
    wire.loseConnection = lambda: None
    channel.dataReceived(GET + b"Connection: close\r\n\r\n")
    assert wire.connected
    server.clock.advance(ANSWER_WITHIN)
    assert wire.reset


def test_the_connection_at_rest_for_longest_makes_room(server: Server) -> None:
    wires = [server.sent(GET + b"\r\n")[1] for _ in range(MAX_CONNECTIONS)]
    wires[0].protocol.dataReceived(GET + b"\r\n")  # so it rests for a shorter time than all others
    _, new = server.sent(GET + b"\r\n")
    assert [wire.reset for wire in wires] == [False, True] + [False] * (MAX_CONNECTIONS - 2)
    assert new.value().endswith(b"here\n")


def test_no_place_is_taken_from_a_request_in_hand(server: Server) -> None:
    server.page.slow = True
    wires = [server.sent(GET + b"\r\n")[1] for _ in range(MAX_CONNECTIONS)]
    assert server.site.buildProtocol(None) is None
    wires[7].abortConnection()
    assert server.site.buildProtocol(None) is not None
    assert [wire.reset for wire in wires].count(True) == 1
