"""The queue at work on mail that may not be its own any more: taken over, held or deleted while it was under way."""

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.errors import Unavailable
from gateway.queue.lease import SAFE, TRUSTED
from gateway.queue.model import NewRecipient, State
from tests.unit.awaiting import value_of
from tests.unit.queue.sending import Sending, to


class TestLease:
    """Mail whose delivery takes long, or a process that was stopped meanwhile."""

    def stopped(self, it: Sending, *recipients: NewRecipient) -> None:
        """In the middle of a transaction, until the store has to be asked."""
        it.relay.held = it.relay.confirms = True
        it.accept(*recipients)
        it.clock.advance(TRUSTED + 1)

    def test_what_is_still_ours_goes(self) -> None:
        it = Sending()
        self.stopped(it)
        it.relay.open()
        assert it.states() == [State.DELIVERED]

    @pytest.mark.parametrize("happens", ["deleted", "held", "taken"])
    def test_what_is_not_is_not_sent_and_the_rest_goes_at_once(self, happens: str) -> None:
        it = Sending()
        self.stopped(it, to("a@x.example"), to("b@x.example"))
        gone = it.outbox.rows[1]
        if happens == "taken":
            gone.lease = False
        elif happens == "held":
            it.outbox.hold(1)
        else:
            it.outbox.delete(1)
        state = gone.state
        with capture_logs() as logs:
            it.relay.open()
        assert [addresses for _, addresses in it.relay.sent] == [["a@x.example", "b@x.example"], ["b@x.example"]]
        assert it.states() == [state, State.DELIVERED]
        assert (gone.lease, gone.recipient.attempts) == (False, 0)
        assert [entry["recipients"] for entry in logs if entry["event"] == "not sent, it is not ours any more"] == [1]
        assert it.counted("deliveries_total", result="retry") is None

    def test_all_gone_nothing_more_happens(self) -> None:
        it = Sending()
        self.stopped(it)
        it.outbox.delete(1)
        it.relay.open()
        assert len(it.relay.sent) == 1
        assert it.states() == [State.DELETED]
        assert it.counted("deliveries_total", result="delivered") is None
        value_of(it.stop())

    def test_nobody_can_say_so_it_waits_for_the_store(self) -> None:
        it = Sending()
        it.relay.held = it.relay.confirms = True
        it.accept()
        it.clock.advance(SAFE + 1)
        it.outbox.fail_with = Unavailable("away")
        it.relay.open()
        it.wait(30)
        assert it.states() == [State.QUEUED]
        it.outbox.fail_with = None
        it.wait(1)
        assert it.states() == [State.DELIVERED]
        assert it.outbox.records[0].outcome.recipient.attempts == 0
        assert len(it.relay.sent) == 2

    def test_a_fresh_one_counts_from_before_its_commit(self) -> None:
        it = Sending()
        it.relay.held = it.relay.confirms = True
        gate = it.outbox.gate = Deferred()
        accepting = it.begin_accept("late")
        it.clock.advance(TRUSTED + 1)
        gate.callback(None)
        value_of(accepting)
        it.outbox.delete(1)
        it.relay.open()
        assert it.states("late") == [State.DELETED]
        assert it.counted("deliveries_total", result="delivered") is None

    def test_one_that_is_read_later_counts_from_the_question(self) -> None:
        """The answer may have waited for us."""
        it = Sending()
        it.relay.room = 0
        it.relay.confirms = True
        it.accept()
        it.relay.room = 1_000_000
        asking = it.status.gate = Deferred()
        it.runner.start()
        it.clock.advance(0)
        it.clock.advance(1.9)
        it.outbox.delete(1)
        it.relay.held = True
        asking.callback(None)
        it.clock.advance(TRUSTED - 1.8)
        it.relay.open()
        assert it.states() == [State.DELETED]
        assert it.counted("deliveries_total", result="delivered") is None
