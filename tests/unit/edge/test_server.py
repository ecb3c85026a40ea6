"""What a session does with its connection: order, memory, deadlines, and every way it can end. By a clock moved by hand."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.accounts.model import LoginRow
from gateway.edge import server
from gateway.edge.edge import GIVES_WAY, MAX_KNOWN
from gateway.edge.limits import Door
from gateway.errors import StorageFull, Unavailable
from gateway.queue.model import Added, NewMessage
from tests.fakes import FakeBodies
from tests.harness import DEMO, Gateway, LoginTable
from tests.queued import taken
from tests.sign_in import SignIn
from tests.unit.edge.line import AUTH, ENVELOPE, HELLO, MESSAGE, WRONG_AUTH, Line, SlowQueue


def sample(gateway: Gateway, name: str, **labels: str) -> float | None:
    return gateway.registry.get_sample_value(f"smtp_gateway_{name}", labels)


def open_connections(gateway: Gateway, listener: str = "127.0.0.1:2587") -> float | None:
    return sample(gateway, "connections", listener=listener)


class SlowTable(LoginTable):
    """A login table that answers when the test fires `gate`."""

    def __init__(self) -> None:
        super().__init__(DEMO)
        self.gate: Deferred[None] | None = None

    async def find(self, login: str) -> LoginRow | None:
        if self.gate is not None:
            await self.gate
        return await super().find(login)


def slow_table(gateway: Gateway) -> SlowTable:
    table = SlowTable()
    gateway.rules.authenticator = SignIn(table, gateway.hasher, gateway.metrics, gateway.clock).authenticator
    return table


def slow_queue(gateway: Gateway) -> SlowQueue:
    queue = SlowQueue()
    gateway.rules.queue = queue
    return queue


class FailingQueue:
    """Acceptance that raises `error` as long as there is one."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.accepted: list[NewMessage] = []

    async def accept(self, message: NewMessage) -> Added:
        if self.error is not None:
            raise self.error
        self.accepted.append(message)
        return taken(message)


class BodiesWithABug(FakeBodies):
    """Fails `bugs` times in a way that nobody expects."""

    bugs = 0

    def check(self) -> None:
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("a bug")


class TestOrder:
    def test_the_replies_of_a_pipelined_group_share_a_write(self) -> None:
        line = Line.signed_in(Gateway())
        line.say(ENVELOPE)
        assert len(line.wire.writes) == 1
        assert line.heard() == [250, 250, 354]

    def test_a_250_does_not_wait_for_the_decision_on_what_follows(self) -> None:
        gateway = Gateway()
        table = slow_table(gateway)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE)
        line.heard()
        held = table.gate = Deferred()
        line.say(MESSAGE + b"MAIL FROM:<demo@example.com>\r\n")
        table.gate = Deferred()
        held.callback(None)
        assert line.heard() == [250]
        table.gate.callback(None)
        assert line.heard() == [250]

    def test_what_arrives_during_a_decision_is_answered_after_it_in_order(self) -> None:
        gateway = Gateway()
        table = slow_table(gateway)
        line = Line.signed_in(gateway)
        table.gate = Deferred()
        line.say(b"MAIL FROM:<demo@example.com>\r\n", b"RCPT TO:<friend@example.net>\r\n", b"BOGUS\r\n", b"DATA\r\n")
        assert line.heard() == []
        table.gate.callback(None)
        assert line.heard() == [250, 250, 500, 354]


class TestLargeMessages:
    """Records of a message that come at once are taken at once; none is waited for that may not come."""

    def test_full_records_are_taken_at_the_end_of_the_turn(self) -> None:
        line = large_message()
        for _ in range(2):
            line.say(*[b"x" * server.RECORD] * 4)
            assert line.protocol._session.held >= 4 * server.RECORD
            line.advance(0)
            assert line.protocol._session.held == 0

    def test_a_message_that_ends_with_a_full_record_is_answered(self) -> None:
        line = large_message()
        line.say(b"x" * (server.RECORD - 5) + b"\r\n.\r\n")
        line.advance(0)
        assert line.heard() == [250]

    def test_a_short_record_is_taken_with_all_before_it(self) -> None:
        line = large_message()
        line.say(b"x" * server.RECORD, b"end\r\n.\r\n")
        assert line.heard() == [250]
        line.advance(0)
        line.say(b"NOOP\r\n")
        assert line.heard() == [250]

    def test_a_peer_that_goes_within_the_turn(self) -> None:
        line = large_message()
        line.say(b"x" * server.RECORD)
        line.hang_up()
        line.advance(0)
        assert line.gateway.queued == []
        assert line.gateway.clock.getDelayedCalls() == []

    def test_commands_of_that_size_are_taken_as_they_come(self) -> None:
        line = Line.signed_in(Gateway())
        line.say(b"NOOP\r\n" * (server.RECORD // 6 + 1))
        assert 250 in line.heard()


def large_message() -> Line:
    """A session in the middle of a message."""
    gateway = Gateway()
    gateway.sign_in.judge.ceiling = 1_000_000
    line = Line.signed_in(gateway)
    line.say(ENVELOPE, b"Subject: s\r\n\r\n")
    line.heard()
    return line


class TestMemory:
    def test_a_peer_that_talks_on_during_a_decision_has_to_wait(self) -> None:
        gateway = Gateway()
        queue = slow_queue(gateway)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, MESSAGE)
        line.say(b"NOOP\r\n" * (server.HELD // 6 - 10))
        assert line.reading
        line.say(b"NOOP\r\n" * 20)
        assert not line.reading
        line.heard()
        queue.answers[0].callback(None)
        assert line.reading
        assert line.heard()[0] == 250

    def test_a_peer_that_takes_no_replies_has_to_wait_and_then_goes_on(self) -> None:
        gateway = Gateway(errors_per_session=1000)
        line = Line.signed_in(gateway)
        line.wire.stuck = True
        line.say(b"NOOP\r\n")
        line.say(*[b"NOOP\r\n" * 1000] * 30)
        assert not line.reading
        assert len(line.wire.writes) == 1
        line.wire.stuck = False
        line.protocol.resumeProducing()
        assert line.reading
        assert line.heard()[:3] == [250, 250, 250]

    def test_what_a_peer_says_after_the_end_is_dropped(self) -> None:
        line = Line(Gateway())
        line.say(b"QUIT\r\n")
        line.say(b"x" * 1_000_000)
        assert line.protocol._session.held == 0

    def test_a_session_that_ends_by_a_bug_keeps_nothing_either(self) -> None:
        gateway = Gateway()
        line = Line(gateway)
        line.protocol._session.next_event = _broken  # type: ignore[method-assign]
        with capture_logs() as logs:
            line.say(HELLO)
        assert [entry["event"] for entry in logs] == ["unexpected error"]
        assert line.closing
        line.say(b"x" * 1_000_000)
        assert line.protocol._session.held < 100


def _broken() -> None:
    raise RuntimeError("a bug")


def _total(gateway: Gateway) -> float:
    """Seconds that a message may take, whatever its pace."""
    return 600 + gateway.rules.limits.message_size / server.SLOWEST


class TestTurns:
    def test_a_full_buffer_of_quick_commands_does_not_hold_up_others(self) -> None:
        gateway = Gateway()
        greedy, other = Line.signed_in(gateway), Line.signed_in(gateway)
        greedy.say(b"RSET\r\n" * 60)
        assert greedy.heard() == []
        other.say(b"NOOP\r\n")
        assert other.heard() == [250]
        greedy.advance(0)
        assert greedy.heard() == [250] * 60

    def test_empty_chunks_are_no_progress(self) -> None:
        line = Line.signed_in(Gateway())
        line.say(b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<friend@example.net>\r\n", b"BDAT 0\r\n" * 200)
        line.advance(0)
        assert line.heard()[-1] == 421


class TestDeadlines:
    def test_an_idle_session_is_ended_after_five_minutes(self) -> None:
        line = Line(Gateway())
        line.heard()
        line.advance(299)
        assert line.heard() == []
        line.advance(1)
        assert line.heard() == [421]
        assert line.closing

    def test_an_octet_a_minute_does_not_hold_the_place(self) -> None:
        line = Line(Gateway())
        for _ in range(4):
            line.advance(60)
            line.say(b"N")
        assert not line.closing
        line.advance(60)
        assert line.closing

    def test_a_command_gives_the_next_one_its_whole_time(self) -> None:
        line = Line.signed_in(Gateway())
        for _ in range(5):
            line.advance(290)
            line.say(b"NOOP\r\n")
        assert not line.closing
        line.advance(300)
        assert line.closing

    def test_nobody_signed_in_after_ten_minutes(self) -> None:
        line = Line(Gateway(delay=0.0))
        for _ in range(9):
            line.advance(60)
            line.say(b"NOOP\r\n")
        assert not line.closing
        line.advance(59)
        assert not line.closing
        line.advance(1)
        assert line.closing
        assert line.heard()[-1] == 421

    def test_a_handshake_has_thirty_seconds_and_is_cut(self) -> None:
        gateway = Gateway()
        line = Line(gateway, "tls")
        line.advance(29)
        assert not line.cut
        line.advance(1)
        assert line.cut
        line.hang_up()
        assert sample(gateway, "tls_handshakes_total", version="none", result="failed") == 1

    @pytest.mark.parametrize("security", ["tls", "starttls"])
    def test_after_the_handshake_a_command_has_its_five_minutes(self, security: str) -> None:
        line = Line(Gateway(), "tls" if security == "tls" else "starttls")
        if security == "starttls":
            line.say(HELLO, b"STARTTLS\r\n")
        line.advance(20)
        line.protocol.handshakeCompleted()
        line.advance(299)
        assert not line.closing
        line.advance(1)
        assert line.closing

    def test_a_message_may_pause_for_three_minutes(self) -> None:
        line = Line.signed_in(Gateway())
        line.say(ENVELOPE, b"Subject: s\r\n")
        for _ in range(3):
            line.advance(179)
            line.say(b"x: y\r\n")
        assert not line.closing
        line.advance(180)
        assert line.closing
        assert line.heard()[-1] == 421

    def test_a_message_has_a_limit_in_total(self) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.say(ENVELOPE)
        for _ in range(int(_total(gateway)) // 10):
            line.advance(10)
            line.say(b"x")
        assert not line.closing
        line.advance(10)
        assert line.closing

    def test_chunks_cannot_be_dragged_out_either(self) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.say(b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<friend@example.net>\r\n")
        for _ in range(int(_total(gateway)) // 200 + 1):
            assert not line.closing
            line.say(b"BDAT 1\r\nx")
            line.advance(200)
        line.say(b"BDAT 10\r\n")
        line.advance(0)
        assert line.closing

    def test_a_peer_that_takes_no_replies_is_cut_in_the_end(self) -> None:
        line = Line.signed_in(Gateway())
        line.wire.stuck = True
        line.say(b"NOOP\r\n")
        line.advance(300)
        assert line.closing
        assert not line.cut
        line.advance(server.LINGER)
        assert line.cut

    def test_a_decision_may_take_as_long_as_it_needs(self) -> None:
        gateway = Gateway()
        queue = slow_queue(gateway)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, MESSAGE)
        line.heard()
        line.advance(3600)
        assert not line.closing
        queue.answers[0].callback(None)
        assert line.heard() == [250]

    def test_the_peer_has_some_seconds_to_read_our_last_words(self) -> None:
        line = Line(Gateway())
        line.say(b"QUIT\r\n")
        assert line.heard() == [220, 221]
        assert line.closing
        line.advance(server.LINGER - 1)
        assert not line.cut
        line.advance(1)
        assert line.cut

    def test_no_timer_is_left_of_a_session_that_is_gone(self) -> None:
        gateway = Gateway()
        for end in ENDS.values():
            line = Line.signed_in(gateway)
            end(line)
            if not line.cut:
                line.hang_up()
            assert gateway.clock.getDelayedCalls() == [], end


def _quit(line: Line) -> None:
    line.say(b"QUIT\r\n")


def _smuggle(line: Line) -> None:
    line.say(b"NOOP\n")


def _in_the_middle(line: Line) -> None:
    line.say(ENVELOPE, b"Subject: s\r\n")


def _drained(line: Line) -> None:
    line.protocol.drain()


ENDS: dict[str, Callable[[Line], None]] = {
    "quit": _quit,
    "bare line end": _smuggle,
    "lost in a message": _in_the_middle,
    "drained": _drained,
    "lost at rest": lambda line: None,
}


class TestNothingLeaks:
    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_a_session_that_ends_is_forgotten(self, end: Callable[[Line], None]) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(1, 1)
        line = Line.signed_in(gateway)
        assert len(gateway.edge.sessions) == open_connections(gateway) == 1
        end(line)
        line.hang_up()
        assert not gateway.edge.sessions
        assert open_connections(gateway) == 0
        assert gateway.bodies.growing == {}
        assert Line(gateway).heard() == [220]

    def test_one_that_is_lost_in_its_handshake_too(self) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(1, 1)
        Line(gateway, "tls").hang_up()
        assert not gateway.edge.sessions
        assert open_connections(gateway) == 0
        assert Line(gateway).heard() == [220]

    def test_one_that_is_turned_away_gives_back_nothing_it_did_not_take(self) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(1, 1)
        first = Line(gateway)
        second = Line(gateway)
        assert second.text() == "421 4.7.0 Too many connections; try again later\r\n"
        assert second.closing
        second.say(b"x" * 1_000_000)
        assert second.protocol._session.held == 0
        second.hang_up()
        assert gateway.clock.getDelayedCalls() != []  # the first one's deadline
        assert open_connections(gateway) == 1
        assert Line(gateway).heard() == [421]
        first.hang_up()
        assert Line(gateway).heard() == [220]
        assert sample(gateway, "connections_total", listener="127.0.0.1:2587", result="too_many") == 2

    def test_nothing_is_said_in_clear_where_tls_is_expected(self) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(0, 1)
        line = Line(gateway, "tls")
        assert line.heard() == []
        assert line.closing

    def test_one_turned_away_that_does_not_close_is_cut(self) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(0, 1)
        line = Line(gateway)
        line.advance(server.LINGER)
        assert line.cut

    def test_a_network_has_its_own_limit(self) -> None:
        gateway = Gateway()
        gateway.edge.door = Door(10, 1)
        Line(gateway)
        assert Line(gateway).heard() == [421]
        assert Line(gateway, host="192.0.2.8").heard() == [220]
        assert Line(gateway, host="2001:db8::1").heard() == [220]
        assert Line(gateway, host="2001:db8::2").heard() == [421]  # the same /64


class TestDecisions:
    @pytest.mark.parametrize("answer", [None, Unavailable("away")], ids=["accepted", "store away"])
    def test_a_lost_connection_does_not_cancel_the_queueing(self, answer: Exception | None) -> None:
        gateway = Gateway()
        queue = slow_queue(gateway)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, MESSAGE)
        line.hang_up()
        assert not gateway.edge.sessions
        written = len(line.wire.writes)
        with capture_logs() as logs:
            if answer is None:
                queue.answers[0].callback(None)
            else:
                queue.answers[0].errback(answer)
        assert len(queue.accepted) == (answer is None)
        assert [entry for entry in logs if entry["event"] == "unexpected error"] == []
        assert len(line.wire.writes) == written
        assert gateway.clock.getDelayedCalls() == []

    @pytest.mark.parametrize(
        ("error", "reply"),
        [
            (ValueError("demo@example.com"), "451 4.3.0 Temporary problem on our side; try again later"),
            (Unavailable("database is locked"), "451 4.3.0 Temporary problem on our side; try again later"),
            (StorageFull("no space left"), "452 4.3.1 No room to store the message; try again later"),
        ],
    )
    def test_a_failed_decision_is_told_without_its_reason_and_the_session_lives(self, error: Exception, reply: str) -> None:
        gateway = Gateway()
        queue = gateway.rules.queue = FailingQueue(error)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE)
        line.text()
        with capture_logs() as logs:
            line.say(MESSAGE)
        assert line.text() == f"{reply}\r\n"
        assert [entry["log_level"] for entry in logs] == ["error"]
        queue.error = None
        line.say(ENVELOPE, MESSAGE)
        assert line.heard() == [250, 250, 354, 250]
        assert len(queue.accepted) == 1

    def test_a_bug_in_the_middle_of_a_message_leaves_no_message_with_a_hole(self) -> None:
        gateway = Gateway()
        gateway.sign_in.judge.ceiling = 1_000_000
        bodies = gateway.rules.bodies = BodiesWithABug()
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, b"Subject: s\r\n\r\n" + b"x" * 70_000 + b"\r\n")
        line.heard()
        bodies.bugs = 1
        with capture_logs() as logs:
            line.say(b"y" * 600_000 + b"\r\n")
            line.advance(0)
        assert [entry["event"] for entry in logs] == ["unexpected error"]
        line.say(b"end\r\n.\r\n")
        assert line.heard() == [451]
        assert gateway.queued == []

    def test_commands_are_counted_and_timed_under_their_verb(self) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, MESSAGE, b"FROB\r\n")
        assert sample(gateway, "commands_total", verb="DATA", reply_class="2xx") == 1
        assert sample(gateway, "commands_total", verb="DATA", reply_class="3xx") == 1
        assert sample(gateway, "commands_total", verb="UNKNOWN", reply_class="5xx") == 1
        assert sample(gateway, "command_seconds_count", verb="MAIL") == 1
        assert sample(gateway, "command_seconds_count", verb="DATA") == 2

    def test_a_command_behind_starttls_is_dropped(self) -> None:
        line = Line(Gateway())
        line.say(HELLO)
        line.text()
        line.say(b"STARTTLS\r\nNOOP\r\n" + AUTH)
        assert line.heard() == [220]
        line.protocol.handshakeCompleted()
        line.say(b"NOOP\r\n")
        assert line.heard() == [250]


class TestShuttingDown:
    def test_nobody_there(self) -> None:
        assert Gateway().edge.drain().called

    def test_idle_ones_are_told_and_a_transaction_ends_first(self) -> None:
        gateway = Gateway()
        idle, busy = Line.signed_in(gateway), Line.signed_in(gateway)
        busy.say(ENVELOPE)
        busy.heard()
        gone = gateway.edge.drain()
        assert idle.text() == "421 4.3.2 Server is shutting down; try again soon\r\n"
        assert idle.closing
        assert busy.heard() == []
        busy.say(MESSAGE + b"MAIL FROM:<demo@example.com>\r\n")
        assert busy.heard() == [250, 421]
        assert len(gateway.queued) == 1
        idle.hang_up()
        assert not gone.called
        busy.hang_up()
        assert gone.called

    @pytest.mark.parametrize("end", [b"RSET\r\n", HELLO])
    def test_a_transaction_that_is_given_up_ends_its_session(self, end: bytes) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.say(b"MAIL FROM:<demo@example.com>\r\n")
        gateway.edge.drain()
        line.heard()
        line.say(end)
        assert line.heard() == [250, 421]

    def test_a_decision_that_is_out_is_still_told(self) -> None:
        gateway = Gateway()
        queue = slow_queue(gateway)
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, MESSAGE)
        gateway.edge.drain()
        gateway.edge.cut()
        line.heard()
        assert not line.closing
        queue.answers[0].callback(None)
        assert line.heard() == [250, 421]

    def test_a_sign_in_under_way_gets_its_answer_and_then_the_end(self) -> None:
        gateway = Gateway(delay=0.3)
        line = Line(gateway, "tls")
        line.protocol.handshakeCompleted()
        line.say(HELLO, WRONG_AUTH)
        line.heard()
        gateway.edge.drain()
        assert line.heard() == []
        line.advance(0.3)
        assert line.heard() == [535, 421]

    def test_a_message_that_does_not_end_is_cut_off_with_a_word(self) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.say(ENVELOPE, b"Subject: s\r\n")
        line.heard()
        gateway.edge.drain()
        assert line.heard() == []
        gateway.edge.cut()
        assert line.heard() == [421]
        assert line.closing
        assert gateway.queued == []

    def test_one_that_takes_no_replies_is_ended_too(self) -> None:
        gateway = Gateway()
        line = Line.signed_in(gateway)
        line.wire.stuck = True
        line.say(b"NOOP\r\n")
        gateway.edge.drain()
        assert line.closing
        gateway.edge.abort()
        assert line.cut

    def test_one_in_its_handshake_is_cut_by_the_deadline_of_closing(self) -> None:
        gateway = Gateway()
        line = Line(gateway, "tls")
        gateway.edge.drain()
        line.advance(server.LINGER)
        assert line.cut


class TestPlaces:
    """When there are no places left, sessions that nobody has signed in to give theirs up, the oldest first."""

    def full(self, gateway: Gateway, count: int = 3) -> list[Line]:
        gateway.edge.door.total = count
        return [Line(gateway, host=f"198.51.{n}.1") for n in range(count)]

    def test_a_silent_one_gives_way_after_seconds_the_oldest_first(self) -> None:
        gateway = Gateway()
        silent = self.full(gateway)
        turned_away = Line(gateway)
        assert turned_away.heard() == [421]
        gateway.clock.advance(GIVES_WAY)
        new = Line(gateway)
        assert new.heard() == [220]
        assert [line.heard() for line in silent] == [[220, 421], [220], [220]]
        assert silent[0].closing
        silent[0].hang_up()
        assert Line(gateway).heard() == [220]
        assert silent[1].heard() == [421]

    def test_one_that_has_signed_in_gives_no_way(self) -> None:
        gateway = Gateway()
        gateway.edge.door.total = 1
        Line.signed_in(gateway)
        gateway.clock.advance(60)
        assert Line(gateway, host="198.51.1.1").heard() == [421]

    def test_known_networks_are_let_in_first(self) -> None:
        gateway = Gateway()
        Line.signed_in(gateway).hang_up()
        owner, stranger = "192.0.2.8", "198.51.100.1"
        gateway.edge.door.total = 2
        waiting, other = Line(gateway, host=owner), Line(gateway, host=owner)
        gateway.clock.advance(GIVES_WAY)
        assert Line(gateway, host=stranger).heard() == [421]
        assert [waiting.heard(), other.heard()] == [[220], [220]]
        assert Line(gateway, host=owner).heard() == [220]
        assert waiting.heard() == [421]

    def test_networks_remembered_are_bounded(self) -> None:
        gateway = Gateway()
        for n in range(MAX_KNOWN + 5):
            gateway.edge.signed_in_from(str(n))
        assert len(gateway.edge.known) == MAX_KNOWN
        assert "4" not in gateway.edge.known
