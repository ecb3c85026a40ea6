"""The queue at work over a relay that answers as told: hand-over, window, retries, reports, and a store that refuses."""

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.errors import StorageFull, Unavailable
from gateway.queue.allowance import Denied, OnLimit, Terms
from gateway.queue.model import Duplicate, Envelope, Inline, Queued, Result, Spooled, State
from gateway.queue.recorder import UNREACHABLE_PAUSE
from gateway.queue.runner import MOST_AT_ONCE, WINDOW_MESSAGES, WINDOW_OCTETS
from tests.unit.awaiting import assert_pending, value_of
from tests.unit.queue.sending import BCC, CC, SENDER, Sending, to

FAILED, DELAYED = "Your message could not be delivered", "Your message is delayed"
DELIVERED, RELAYED = "Your message was delivered", "Your message was handed on"


class TestHandOver:
    def test_a_fresh_message_goes_out_without_being_read_back(self) -> None:
        it = Sending()
        it.accept(to("a@x.example"))
        assert [addresses for _, addresses in it.relay.sent] == [["a@x.example"]]
        assert it.states() == [State.DELIVERED]
        assert it.outbox.takes == 0
        assert it.counted("deliveries_total", result="delivered") == 1
        assert it.counted("delivery_delay_seconds_count") == 1

    def test_accepting_does_not_wait_for_the_delivery(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept()
        assert len(it.relay.sent) == 1
        assert it.states() == [State.QUEUED]
        it.relay.open()
        assert it.states() == [State.DELIVERED]

    def test_named_recipients_go_together_and_each_blind_one_alone(self) -> None:
        it = Sending()
        it.accept(to("a@x.example"), to("b@x.example", BCC), to("c@x.example", CC), to("d@x.example", BCC))
        assert [addresses for _, addresses in it.relay.sent] == [
            ["a@x.example", "c@x.example"],
            ["b@x.example"],
            ["d@x.example"],
        ]

    def test_what_the_store_does_not_take_is_not_sent(self) -> None:
        it = Sending()
        for _ in range(WINDOW_MESSAGES + 1):  # nor does it stay in the window
            it.outbox.fail_with = StorageFull("full")
            with pytest.raises(StorageFull):
                it.accept()
            it.outbox.fail_with = None
            it.wait(1)
        assert it.relay.sent == []
        it.accept()
        assert it.states() == [State.DELIVERED]

    def test_what_was_committed_although_the_store_said_otherwise_is_found_and_sent(self) -> None:
        it = Sending()
        it.outbox.lost_answers = 1
        with pytest.raises(Unavailable):
            it.accept()
        assert it.states() == [State.QUEUED]
        it.runner.start()
        it.wait(1)
        assert it.states() == [State.DELIVERED]
        assert len(it.relay.sent) == 1

    def test_even_when_the_store_stays_away_for_a_while(self) -> None:
        it = Sending()
        it.runner.start()
        it.outbox.lost_answers, it.outbox.away_after = 1, Unavailable("away")
        with pytest.raises(Unavailable):
            it.accept()
        it.wait(5)
        assert it.states() == [State.QUEUED]
        it.outbox.fail_with = None
        it.wait(2)
        assert it.states() == [State.DELIVERED]

    def test_a_stop_does_not_wait_for_that(self) -> None:
        it = Sending()
        it.outbox.lost_answers, it.outbox.away_after = 1, Unavailable("away")
        with pytest.raises(Unavailable):
            it.accept()
        over = it.stop(15)
        with capture_logs() as logs:
            it.clock.advance(1)
        value_of(over)
        assert it.states() == [State.QUEUED]
        assert logs == []

    def test_what_is_denied_or_a_duplicate_is_answered_and_leaves_the_window(self) -> None:
        it = Sending()
        terms = Terms(1, OnLimit.DEFER)
        assert isinstance(it.accept(id_="first", terms=terms, resend_key="k"), Queued)
        for number in range(WINDOW_MESSAGES + 1):
            assert isinstance(it.accept(id_=f"M{number}", terms=terms), Denied)
            assert it.accept(id_=f"M{number}", terms=terms, resend_key="k") == Duplicate("first")
        assert len(it.relay.sent) == 1
        it.accept(id_="other")
        assert it.states("other") == [State.DELIVERED]

    def test_what_is_only_written_is_answered_too(self) -> None:
        it = Sending()
        it.relay.room = 0
        added = it.accept(terms=Terms(1, OnLimit.REJECT))
        assert isinstance(added, Queued)
        assert added.message.recipients == ()
        assert isinstance(it.accept(id_="second", terms=Terms(1, OnLimit.REJECT)), Denied)

    def test_a_body_goes_with_the_last_of_its_recipients(self) -> None:
        it = Sending()
        it.bodies.files["M"] = b"large"
        it.relay.results["b@x.example"] = Result.RETRY
        it.accept(to("a@x.example"), to("b@x.example"), body=Spooled("M", 5))
        assert "M" in it.bodies.files
        it.relay.results.clear()
        it.runner.start()
        it.wait(61)
        assert it.states() == [State.DELIVERED, State.DELIVERED]
        assert it.bodies.files == {}


class TestWindow:
    def test_past_it_messages_are_only_written_and_read_when_there_is_room(self) -> None:
        it = Sending()
        it.relay.held = True
        for number in range(WINDOW_MESSAGES + 10):
            it.accept(id_=f"M{number}")
        assert len(it.relay.sent) == WINDOW_MESSAGES
        assert len(it.outbox.messages) == WINDOW_MESSAGES + 10
        it.runner.start()
        it.wait(3)
        assert it.outbox.takes == 0
        it.relay.open()
        it.wait(2)
        assert len(it.relay.sent) == WINDOW_MESSAGES + 10
        assert it.outbox.waiting == 0

    def test_it_is_bounded_in_octets_too(self) -> None:
        it = Sending()
        it.relay.held = True
        body = Inline(bytes(WINDOW_OCTETS // 4))
        for number in range(5):
            it.accept(id_=f"M{number}", body=body)
        assert len(it.relay.sent) == 3
        it.relay.open()
        it.accept(id_="after", body=body)
        assert it.states("after") == [State.DELIVERED]

    def test_a_body_on_disk_takes_no_room_in_it(self) -> None:
        it = Sending()
        it.relay.held = True
        for number in range(5):
            it.accept(id_=f"M{number}", body=Spooled(f"M{number}", WINDOW_OCTETS))
        assert len(it.relay.sent) == 5

    def test_a_backlog_is_read_in_batches_without_a_pause(self) -> None:
        it = Sending()
        it.relay.room = 0
        for number in range(3 * MOST_AT_ONCE):
            it.accept(id_=f"M{number}")
        it.relay.room = 1_000_000
        it.runner.start()
        for _ in range(10):
            it.clock.advance(0)
        assert it.outbox.takes >= 3
        assert len(it.relay.sent) == 3 * MOST_AT_ONCE

    def test_while_every_hop_rests_fresh_mail_waits_in_the_store(self) -> None:
        it = Sending()
        it.relay.room = 0
        it.accept()
        it.runner.start()
        it.wait(30)
        assert it.relay.sent == []
        it.relay.room = 1
        it.wait(1)
        assert it.states() == [State.DELIVERED]


class TestRetries:
    def test_the_schedule_is_kept_and_the_last_pause_repeats(self) -> None:
        it = Sending()
        it.relay.usual = Result.RETRY
        it.accept()
        it.runner.start()
        at = []
        for _ in range(2000):
            before = len(it.relay.sent)
            it.wait(1)
            if len(it.relay.sent) > before:
                at.append(it.clock.seconds())
        assert [round(moment / 10) * 10 for moment in at] == [60, 660, 1260, 1860]
        assert it.counted("deliveries_total", result="retry") == 5

    def test_only_those_that_were_not_taken_are_tried_again(self) -> None:
        it = Sending()
        it.relay.results = {"b@x.example": Result.RETRY, "c@x.example": Result.FAILED}
        it.accept(to("a@x.example"), to("b@x.example"), to("c@x.example"))
        assert it.states() == [State.DELIVERED, State.QUEUED, State.FAILED]
        it.runner.start()
        it.relay.results.clear()
        it.relay.sent.clear()
        it.wait(62)
        assert ["b@x.example"] in [addresses for _, addresses in it.relay.sent]
        assert ["a@x.example"] not in [addresses for _, addresses in it.relay.sent]

    def test_given_up_at_its_time_with_a_report(self) -> None:
        it = Sending()
        it.relay.results["a@x.example"] = Result.RETRY
        it.accept()
        it.runner.start()
        for _ in range(1442):
            it.clock.advance(60)
        assert it.states() == [State.FAILED]
        assert it.subjects() == [DELAYED, FAILED]
        assert it.counted("deliveries_total", result="expired") == 1
        last = it.relay.sent[-2][0]  # the report's own delivery comes after it
        assert last.age == pytest.approx(86400, abs=60)

    def test_an_unreachable_hop_burns_no_attempt_and_is_asked_soon(self) -> None:
        it = Sending()
        it.relay.usual, it.relay.burns = Result.RETRY, False
        it.accept()
        (row,) = it.outbox.rows.values()
        assert row.recipient.attempts == 0
        assert row.due - it.outbox.now == UNREACHABLE_PAUSE
        assert it.counted("deliveries_total", result="unreachable") == 1

    @pytest.mark.parametrize("error", [Unavailable("no such file"), RuntimeError("a bug")])
    def test_trouble_of_our_own_is_a_retry_and_strands_nothing(self, error: Exception) -> None:
        it = Sending()
        it.relay.errors = [error]
        with capture_logs() as logs:
            it.accept()
        assert "error" in [entry["log_level"] for entry in logs]
        assert it.outbox.records[0].outcome.enhanced == "4.3.0"
        assert str(error) not in it.outbox.records[0].outcome.text
        it.runner.start()
        it.wait(61)
        assert it.states() == [State.DELIVERED]

    def test_a_lost_final_reply_is_counted_as_such_and_tried_again(self) -> None:
        it = Sending()
        it.relay.usual, it.relay.unconfirmed = Result.RETRY, True
        it.accept()
        assert it.counted("deliveries_total", result="unconfirmed") == 1
        it.runner.start()
        it.relay.usual, it.relay.unconfirmed = Result.DELIVERED, False
        it.wait(61)
        assert it.states() == [State.DELIVERED]

    def test_what_a_transaction_leaves_over_goes_in_the_next(self) -> None:
        it = Sending()
        it.relay.most = 2
        it.relay.results["b@x.example"] = Result.RETRY
        it.accept(*(to(f"{name}@x.example") for name in "abcde"))
        assert [len(addresses) for _, addresses in it.relay.sent] == [5, 3, 1]
        assert [record.outcome.recipient.address[0] for record in it.outbox.records] == ["a", "b", "c", "d", "e"]
        assert it.states().count(State.DELIVERED) == 4
        assert it.counted("deliveries_total", result="delivered") == 4


class TestReports:
    def test_a_failure_is_told_to_the_sender_and_the_report_goes_out(self) -> None:
        it = Sending()
        it.relay.results["a@x.example"] = Result.FAILED
        it.accept()
        (report,) = it.reports
        assert report.envelope == Envelope("")
        assert [recipient.address for recipient in report.recipients] == [SENDER]
        assert report.account_id == ""
        assert b"Final-Recipient: rfc822; a@x.example" in it.text(report)
        assert it.counted("reports_total", kind="failed") == 1
        it.runner.start()
        it.wait(1)
        assert it.states(report.id) == [State.DELIVERED]

    def test_never_for_the_null_sender(self) -> None:
        it = Sending()
        it.relay.usual = Result.FAILED
        it.accept(envelope=Envelope(""))
        assert it.reports == []
        assert it.states() == [State.FAILED]

    def test_a_report_that_fails_makes_no_report(self) -> None:
        it = Sending()
        it.relay.usual = Result.FAILED
        it.accept()
        it.runner.start()
        it.wait(5)
        assert len(it.reports) == 1
        assert it.states(it.reports[0].id) == [State.FAILED]

    def test_many_failed_blind_recipients_make_twenty_reports_and_one_more(self) -> None:
        it = Sending()
        addresses = [f"b{n}@x.example" for n in range(30)]
        it.relay.results = dict.fromkeys(addresses, Result.FAILED)
        it.accept(*(to(address, BCC) for address in addresses))
        it.wait(2)
        texts = [it.text(report).decode() for report in it.reports]
        named = [[address for address in addresses if f" {address}" in text] for text in texts]
        assert sorted(map(len, named)) == [0] + [1] * 20
        assert "10 more blind recipients" in " ".join(texts[-1].split())
        assert it.counted("reports_total", kind="failed") == 21

    def test_one_report_for_those_that_the_header_names_and_one_for_each_blind_one(self) -> None:
        it = Sending()
        it.relay.usual = Result.FAILED
        addresses = ["a@x.example", "b@x.example", "secret1@x.example", "secret2@x.example"]
        it.accept(to(addresses[0]), to(addresses[1], CC), to(addresses[2], BCC), to(addresses[3], BCC))
        named = [[address for address in addresses if address.encode() in it.text(report)] for report in it.reports]
        assert named == [addresses[:2], addresses[2:3], addresses[3:]]

    def test_one_warning_of_a_delay(self) -> None:
        it = Sending()
        it.relay.results["a@x.example"] = Result.RETRY
        it.accept()
        it.runner.start()
        it.wait(3000)
        assert it.reports == []
        it.wait(5000)
        assert it.subjects() == [DELAYED]
        assert b"Will-Retry-Until:" in it.text(it.reports[0])
        assert it.counted("reports_total", kind="delayed") == 1

    def test_while_no_hop_can_be_reached_the_warning_is_made_all_the_same(self) -> None:
        it = Sending()
        it.relay.room, it.relay.usual, it.relay.burns = 0, Result.RETRY, False
        it.accept()
        it.runner.start()
        it.wait(4000)
        assert it.subjects() == [DELAYED]
        assert len(it.relay.sent) == 1

    @pytest.mark.parametrize(
        ("final", "relayed_dsn", "told"), [(True, False, [DELIVERED]), (False, False, [RELAYED]), (False, True, [])]
    )
    def test_success_is_told_where_it_was_asked_for_and_nobody_else_will(
        self, final: bool, relayed_dsn: bool, told: list[str]
    ) -> None:
        it = Sending()
        it.relay.final, it.relay.relayed_dsn = final, relayed_dsn
        it.accept(to("a@x.example", notify="SUCCESS"), to("b@x.example"))
        assert it.subjects() == told
        assert all(b"b@x.example" not in it.text(report) for report in it.reports)


class TestStoreThatRefuses:
    def test_outcomes_are_kept_and_offered_again(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept()
        it.outbox.fail_with = Unavailable("away")
        with capture_logs() as logs:
            it.relay.open()
            it.wait(30)
        assert len([entry for entry in logs if entry["event"] == "the store cannot be used"]) == 1
        assert it.states() == [State.QUEUED]
        it.outbox.fail_with = None
        it.wait(1)
        assert it.states() == [State.DELIVERED]
        assert len(it.relay.sent) == 1

    def test_nothing_new_is_begun_meanwhile(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept(id_="first")
        it.runner.start()
        it.outbox.fail_with = Unavailable("away")
        it.relay.open()
        it.outbox.fail_with = None
        it.accept(id_="second")
        it.clock.advance(0)
        assert it.states("second") == [State.QUEUED]
        assert it.outbox.takes == 0
        it.wait(3)
        assert it.states("first") == it.states("second") == [State.DELIVERED]

    def test_a_report_is_written_once_however_often_it_is_offered(self) -> None:
        it = Sending()
        it.relay.held = True
        it.relay.results["a@x.example"] = Result.FAILED
        large = b"x" * 76 + b"\r\n"
        it.bodies.files["M"] = large * 2000
        it.accept(body=Spooled("M", len(large) * 2000), envelope=Envelope(SENDER, ret="FULL"))
        it.outbox.fail_with = Unavailable("away")
        it.relay.open()
        it.wait(20)
        assert len(it.bodies.files) == 2
        it.outbox.fail_with = None
        it.wait(1)
        assert it.states() == [State.FAILED]
        assert len(it.reports) == 1
        assert it.counted("reports_total", kind="failed") == 1

    def test_a_body_that_cannot_be_read_does_not_hold_up_its_report(self) -> None:
        it = Sending()
        it.relay.results["a@x.example"] = Result.FAILED
        it.accept(body=Spooled("lost", 100_000), envelope=Envelope(SENDER, ret="FULL"))
        assert it.states() == [State.FAILED]
        assert it.subjects() == [FAILED]

    def test_reading_the_queue_goes_on_after_an_outage(self) -> None:
        it = Sending()
        it.relay.room = 0
        it.accept()
        it.relay.room = 1_000_000
        it.outbox.fail_with = Unavailable("away")
        it.runner.start()
        it.wait(5)
        it.outbox.fail_with = None
        it.wait(1)
        assert it.states() == [State.DELIVERED]


class TestStop:
    def test_with_nothing_under_way_it_is_over_at_once(self) -> None:
        it = Sending()
        it.runner.start()
        value_of(it.stop())
        assert it.clock.getDelayedCalls() == []

    def test_it_waits_for_what_is_under_way_and_takes_nothing_more(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept(id_="first")
        it.runner.start()
        over = it.stop()
        it.accept(id_="second")
        it.wait(5)
        assert_pending(over)
        it.relay.open()
        value_of(over)
        assert it.states("first") == [State.DELIVERED]
        assert it.states("second") == [State.QUEUED]
        assert len(it.relay.sent) == 1
        assert it.clock.getDelayedCalls() == []

    def test_but_not_for_ever(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept()
        over = it.stop(15)
        it.clock.advance(14.9)
        assert_pending(over)
        it.clock.advance(0.1)
        value_of(over)

    def test_it_waits_for_a_message_that_is_being_accepted(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept(id_="first")
        gate = it.outbox.gate = Deferred()
        accepting = it.begin_accept("late")
        over = it.stop()
        gate.callback(None)
        value_of(accepting)
        it.relay.open()
        value_of(over)
        assert it.states("late") == [State.DELIVERED]

    def test_a_look_that_is_out_takes_nothing_any_more(self) -> None:
        it = Sending()
        it.relay.room = 0
        it.accept()
        it.relay.room = 1_000_000
        looking = it.outbox.looking = Deferred()
        it.runner.start()
        it.clock.advance(0)
        over = it.stop()
        looking.callback(None)
        value_of(over)
        assert it.outbox.takes == 0
        assert it.clock.getDelayedCalls() == []

    def test_outcomes_that_the_store_does_not_take_by_then_are_given_up_with_a_line(self) -> None:
        it = Sending()
        it.relay.held = True
        it.accept()
        it.outbox.fail_with = Unavailable("away")
        it.relay.open()
        over = it.stop()
        with capture_logs() as logs:
            it.wait(2)
        value_of(over)
        assert [entry["event"] for entry in logs] == ["outcomes of deliveries could not be written down"]
