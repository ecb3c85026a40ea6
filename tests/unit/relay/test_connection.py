"""Connection over a transport in memory: time limits and back-pressure, by a clock that the test moves."""

from collections.abc import Iterable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from gateway.relay.connection import LIMITS, WORTH_A_WRITE, Connection
from gateway.relay.hop import HopDown
from gateway.smtp.client_events import ClientSettings, Finished, Stage
from gateway.smtp.transaction import To, Transaction
from tests.unit.awaiting import assert_pending, failure_of, value_of
from tests.unit.relay.faulty_hop import BlockReader, message, trusted

ONE = Transaction("a@x.example", (To("b@y.example"),), 20)
LARGE = b"x" * WORTH_A_WRITE + b"\r\n"
SAID = [
    (Stage.MAIL, b"250 ok\r\n"),
    (Stage.RCPT, b"250 ok\r\n"),
    (Stage.DATA, b"354 go\r\n"),
    (Stage.DOT, b"250 ok\r\n"),
]


class Transport(StringTransport):
    """Notes that it was cut, and is full after a write of more than `room` octets."""

    room = 1 << 20

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)  # type: ignore[no-untyped-call]
        if self.producer is not None and len(data) > self.room:
            self.producer.pauseProducing()

    def sent(self) -> bytes:
        return bytes(self.value())  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborting = True


class SlowReader:
    """A body whose first block comes when the test says so."""

    def __init__(self) -> None:
        self.block: Deferred[bytes] = Deferred()

    def read(self) -> Deferred[bytes]:
        return self.block

    def close(self) -> None:
        """Nothing is open."""


class Line:
    """A connection, what the hop can see of it, and the clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.connection = Connection(ClientSettings("gw.example"), None, self.clock)
        self.connection.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.opened: Deferred[None] = Deferred.fromCoroutine(self.connection.opened())

    def say(self, *replies: bytes) -> None:
        for reply in replies:
            self.connection.dataReceived(reply)

    def ready(self) -> "Line":
        self.say(b"220 h\r\n", b"250 h\r\n")
        value_of(self.opened)
        return self

    def send(self, blocks: Iterable[bytes] = (b"x\r\n",)) -> tuple[Deferred[Finished], BlockReader]:
        reader = BlockReader(iter(list(blocks)), None)
        return Deferred.fromCoroutine(self.connection.transact(ONE, b"S: s\r\n\r\n", reader, trusted(message()))), reader


@pytest.mark.parametrize(("said", "stage"), [([], Stage.GREETING), ([b"220 h\r\n"], Stage.HELLO)])
def test_silence_while_setting_up_is_a_hop_that_is_down(said: list[bytes], stage: Stage) -> None:
    line = Line()
    line.say(*said)
    line.clock.advance(LIMITS[stage] - 1)
    assert_pending(line.opened)
    line.clock.advance(1)
    assert failure_of(line.opened, HopDown).reason == f"timed out {stage.value}"
    assert line.transport.aborting


@pytest.mark.parametrize("answered", range(4))
def test_silence_in_a_transaction_is_a_retry(answered: int) -> None:
    line = Line().ready()
    finished, _ = line.send()
    for _, reply in SAID[:answered]:
        line.say(reply)
    stage = SAID[answered][0]
    line.clock.advance(LIMITS[stage] - 1)
    assert_pending(finished)
    line.clock.advance(1)
    result = value_of(finished)
    assert [(verdict.result, verdict.code, verdict.text) for verdict in result.verdicts] == [
        ("retry", 0, f"timed out {stage.value}")
    ]
    assert result.lost_after_dot is (stage is Stage.DOT)
    assert line.transport.aborting


def test_a_line_a_minute_does_not_hold_the_place() -> None:
    line = Line().ready()
    finished, _ = line.send()
    for _ in range(4):
        line.clock.advance(LIMITS[Stage.MAIL] / 4 - 1)
        line.say(b"250-wait\r\n")
    assert_pending(finished)
    line.clock.advance(4)
    assert value_of(finished).verdicts[0].result == "retry"


def test_each_reply_starts_the_limit_afresh() -> None:
    line = Line().ready()
    finished, _ = line.send()
    for stage, reply in SAID:
        line.clock.advance(LIMITS[stage] - 1)
        line.say(reply)
    assert value_of(finished).verdicts[0].result == "delivered"


def test_at_rest_nothing_is_timed_and_after_quit_the_line_is_cut() -> None:
    line = Line().ready()
    line.clock.advance(2 * max(LIMITS.values()))
    assert not line.connection.closed
    assert line.clock.getDelayedCalls() == []
    line.connection.quit()
    line.clock.advance(LIMITS[Stage.QUIT])
    assert line.transport.aborting
    assert line.connection.closed


def test_a_short_message_is_two_writes_where_commands_are_pipelined() -> None:
    line = Line()
    line.say(b"220 h\r\n", b"250-h\r\n250 PIPELINING\r\n")
    value_of(line.opened)
    line.transport.writes.clear()
    finished, _ = line.send([b"one\r\n", b"two\r\n"])
    line.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert line.transport.writes == [
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n",
        b"S: s\r\n\r\none\r\ntwo\r\n.\r\n",
    ]
    line.say(b"250 ok\r\n")
    assert value_of(finished).verdicts[0].result == "delivered"


def test_the_body_waits_while_the_transport_is_full() -> None:
    line = Line().ready()
    finished, reader = line.send([LARGE] * 10)
    line.transport.room = 500
    line.say(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
    for reads in range(1, 11):
        assert reader.reads == reads
        line.connection.resumeProducing()
    assert reader.reads == 11
    line.say(b"250 ok\r\n")
    assert value_of(finished).verdicts[0].result == "delivered"
    assert line.transport.sent().endswith(b"x\r\n.\r\n")
    assert line.transport.producer is None


def test_a_full_transport_that_never_drains_is_cut() -> None:
    line = Line().ready()
    finished, reader = line.send([LARGE] * 10)
    line.say(b"250 ok\r\n", b"250 ok\r\n")
    line.connection.pauseProducing()
    line.say(b"354 go\r\n")
    line.clock.advance(LIMITS[Stage.BODY])
    line.connection.connectionLost()
    assert value_of(finished).verdicts[0].text == "timed out while the message was being sent"
    assert reader.reads == 1


def test_a_lost_connection_stops_the_body() -> None:
    line = Line().ready()
    finished, reader = line.send([LARGE] * 10)
    line.say(b"250 ok\r\n", b"250 ok\r\n")
    line.connection.pauseProducing()
    line.say(b"354 go\r\n")
    line.connection.connectionLost()
    assert value_of(finished).verdicts[0].text == "connection lost while the message was being sent"
    assert reader.reads == 1
    value_of(line.connection.disconnected)
    assert line.clock.getDelayedCalls() == []


def test_a_connection_lost_while_the_disk_is_read_leaves_no_timer() -> None:
    line = Line().ready()
    reader = SlowReader()
    finished = Deferred.fromCoroutine(line.connection.transact(ONE, b"S: s\r\n\r\n", reader, trusted(message())))
    line.say(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
    line.connection.connectionLost()
    reader.block.callback(b"x\r\n")
    assert value_of(finished).verdicts[0].result == "retry"
    assert line.clock.getDelayedCalls() == []


def test_endless_reply_line_is_cut() -> None:
    line = Line().ready()
    finished, _ = line.send()
    for _ in range(5):
        line.say(b"x" * 1000)
    assert "reply line too long" in value_of(finished).verdicts[0].text
    assert line.transport.disconnecting
