"""Mail of disabled accounts in the queue at work: held when it is taken again, let go when the account is enabled."""

from collections.abc import Collection

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.errors import Unavailable
from gateway.queue import senders
from gateway.queue.model import Envelope, Hold, Result, Spooled, State
from gateway.queue.runner import MOST_AT_ONCE, WINDOW_MESSAGES
from gateway.queue.senders import PATIENCE, REST
from tests.unit.awaiting import failure_of, value_of
from tests.unit.queue.sending import BCC, Sending, to


def waiting(it: Sending, *ids: str, account: str = "1") -> None:
    """Messages in the store that no hop could be found for; it can from now on."""
    it.relay.room = 0
    for id_ in ids:
        it.accept(id_=id_, account=account)
    it.relay.room = 1_000_000


def let_go(it: Sending) -> None:
    value_of(Deferred.fromCoroutine(it.senders.let_go()))


class TestHolding:
    def test_what_a_disabled_account_has_sent_is_held_and_the_rest_goes(self) -> None:
        it = Sending()
        waiting(it, "A", account="1")
        waiting(it, "B", account="2")
        it.status.gone = {"1"}
        it.runner.start()
        with capture_logs() as logs:
            it.wait(2)
        assert (it.states("A"), it.states("B")) == ([State.HELD], [State.DELIVERED])
        assert [row.hold for row in it.outbox.rows.values()] == [Hold.ACCOUNT, Hold.NONE]
        assert len(it.relay.sent) == 1
        assert it.status.asked == [{"1", "2"}]
        held = [entry for entry in logs if entry["event"].startswith("held")]
        assert [(entry["queue_id"], entry["account"], entry["recipients"]) for entry in held] == [("A", "1", 1)]

    def test_a_retry_is_asked_about_and_a_straight_hand_over_is_not(self) -> None:
        it = Sending()
        it.relay.usual = Result.RETRY
        it.status.gone = {"1"}
        it.accept(to("a@x.example"), to("b@x.example", BCC))
        assert len(it.relay.sent) == 2
        assert it.status.asked == []
        it.runner.start()
        it.wait(61)
        assert it.states() == [State.HELD, State.HELD]
        assert len(it.relay.sent) == 2

    def test_held_mail_is_not_given_up_nor_warned_of(self) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        for _ in range(3000):
            it.clock.advance(60)
        assert it.states() == [State.HELD]
        assert it.reports == []

    def test_mail_to_be_warned_of_while_every_hop_rests_is_held_too(self) -> None:
        it = Sending()
        it.relay.room, it.relay.usual, it.relay.burns = 0, Result.RETRY, False
        it.accept()
        it.runner.start()
        it.status.gone = {"1"}
        it.wait(4000)
        assert it.states() == [State.HELD]
        assert it.reports == []

    def test_our_own_reports_have_no_account(self) -> None:
        it = Sending()
        waiting(it, "M", account="")
        it.status.gone = {""}
        it.runner.start()
        it.wait(2)
        assert it.states() == [State.DELIVERED]
        assert it.status.asked == []

    def test_held_mail_takes_no_room_in_the_window(self) -> None:
        it = Sending()
        waiting(it, *(f"M{n}" for n in range(WINDOW_MESSAGES + 10)))
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(10)
        assert it.outbox.waiting == 0
        it.relay.held = True
        it.accept(id_="after", account="2")
        assert len(it.relay.sent) == 1

    def test_a_hop_that_rests_is_not_kept_waiting_by_them(self) -> None:
        """One message a look may ask the hop whether it is back: those that are held do not use up the second."""
        it = Sending()
        waiting(it, *(f"M{n}" for n in range(MOST_AT_ONCE)))
        waiting(it, "other", account="2")
        it.status.gone = {"1"}
        it.relay.room = 1
        it.runner.start()
        for _ in range(MOST_AT_ONCE + 2):
            it.clock.advance(0)
        assert it.states("other") == [State.DELIVERED]

    def test_a_store_that_refuses_is_asked_again_and_nothing_is_sent(self) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone = {"1"}
        answer: Deferred[None] = Deferred()
        hold_open(it, answer)
        it.runner.start()
        it.wait(1)
        it.outbox.fail_with = Unavailable("away")
        answer.callback(None)
        it.wait(5)
        assert it.states() == [State.QUEUED]
        it.outbox.fail_with = None
        it.wait(1)
        assert it.states() == [State.HELD]
        assert it.relay.sent == []

    def test_stopping_meanwhile_leaves_it_to_the_next_life(self) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone = {"1"}
        answer: Deferred[None] = Deferred()
        hold_open(it, answer)
        it.runner.start()
        it.wait(1)
        over = it.stop()
        it.outbox.fail_with = Unavailable("away")
        with capture_logs() as logs:
            answer.callback(None)
        value_of(over)
        assert it.states() == [State.QUEUED]
        assert it.relay.sent == []
        assert logs == []


def hold_open(it: Sending, answer: Deferred[None]) -> None:
    """The login table answers when `answer` does."""
    ask = it.status.disabled

    async def disabled(account_ids: Collection[str]) -> set[str]:
        await answer
        return await ask(account_ids)

    it.status.disabled = disabled  # type: ignore[method-assign]


class TestNobodyCanSay:
    @pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
    def test_what_was_accepted_goes_on_being_sent(self, error: Exception) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone, it.status.fail_with = {"1"}, error
        it.runner.start()
        it.wait(2)
        assert it.states() == [State.DELIVERED]

    def test_nobody_waits_long_and_it_is_left_alone_for_a_while(self) -> None:
        it = Sending()
        waiting(it, "A")
        hold_open(it, Deferred())
        it.runner.start()
        it.clock.advance(0)
        it.clock.advance(PATIENCE - 0.1)
        assert it.relay.sent == []
        it.clock.advance(0.1)
        assert it.states("A") == [State.DELIVERED]
        hold_open(it, Deferred())
        waiting(it, "B")
        it.wait(1)
        assert it.states("B") == [State.DELIVERED]
        it.wait(REST)
        hold_open(it, Deferred())
        waiting(it, "C")
        it.wait(1)
        assert it.states("C") == [State.QUEUED]

    def test_one_line_an_outage(self) -> None:
        it = Sending()
        it.runner.start()
        lines = []
        for error in (Unavailable("one"), Unavailable("two"), None, Unavailable("three")):
            it.status.fail_with = error
            it.wait(REST)
            waiting(it, f"M{len(it.outbox.messages)}")
            with capture_logs() as logs:
                it.wait(1)
            lines.append([entry["reason"] for entry in logs if "reason" in entry])
        assert lines == [["one"], [], [], ["three"]]


class TestLettingGo:
    def test_once_the_account_is_enabled_its_mail_is_sent(self) -> None:
        it = Sending()
        waiting(it, "A", account="1")
        waiting(it, "B", account="2")
        it.status.gone = {"1", "2"}
        it.runner.start()
        it.wait(2)
        let_go(it)
        it.wait(2)
        assert (it.states("A"), it.states("B")) == ([State.HELD], [State.HELD])
        it.status.gone = {"2"}
        with capture_logs() as logs:
            let_go(it)
        assert [(entry["accounts"], entry["recipients"]) for entry in logs] == [(1, 1)]
        it.wait(2)
        assert (it.states("A"), it.states("B")) == ([State.DELIVERED], [State.HELD])

    def test_in_small_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(senders, "STEP", 2)
        it = Sending()
        waiting(it, *(f"M{n}" for n in range(5)))
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        it.status.gone = set()
        let_go(it)
        assert it.outbox.waiting == 5

    def test_nothing_held_is_no_question(self) -> None:
        it = Sending()
        let_go(it)
        assert it.status.asked == []

    def test_while_nobody_can_say_it_stays_held(self) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        it.status.fail_with = Unavailable("away")
        failure_of(Deferred.fromCoroutine(it.senders.let_go()), Unavailable)
        assert it.states() == [State.HELD]

    def test_what_an_operator_released_is_sent_although_the_account_is_disabled(self) -> None:
        it = Sending()
        it.relay.room = 0
        it.accept(to("a@x.example"), to("b@x.example"))
        it.relay.room = 1_000_000
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        it.outbox.release_held(1)
        it.relay.usual = Result.RETRY
        it.wait(62)
        it.relay.usual = Result.DELIVERED
        it.wait(601)
        assert it.states() == [State.DELIVERED, State.HELD]
        assert {tuple(addresses) for _, addresses in it.relay.sent} == {("a@x.example",)}

    def test_released_after_its_time_it_is_tried_once_and_reported(self) -> None:
        it = Sending()
        waiting(it, "M")
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        it.clock.advance(90_000)
        it.outbox.release_held(1)
        it.relay.results["a@x.example"] = Result.RETRY
        it.wait(2)
        assert it.states() == [State.FAILED]
        assert it.subjects() == ["Your message could not be delivered"]

    def test_a_body_on_disk_stays_while_its_message_is_held(self) -> None:
        it = Sending()
        it.bodies.files["M"] = b"large"
        it.relay.room = 0
        it.accept(body=Spooled("M", 5), envelope=Envelope("demo@example.com"))
        it.relay.room = 1_000_000
        it.status.gone = {"1"}
        it.runner.start()
        it.wait(2)
        assert it.bodies.files == {"M": b"large"}
        it.outbox.release_held(1)
        it.wait(2)
        assert it.bodies.files == {}
