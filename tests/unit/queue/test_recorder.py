"""How outcomes come into the store: many at a time while it is busy, and what is told of those that came too late."""

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.errors import Unavailable
from gateway.queue.model import Result, Spooled, State
from gateway.queue.recorder import MOST_TOGETHER
from tests.unit.awaiting import value_of
from tests.unit.queue.sending import BCC, Sending, to


def busy(*messages: str) -> tuple[Sending, "Deferred[None]"]:
    """The outcome of a first message is being written, those of the others wait; fire what comes back to let it go on."""
    it = Sending()
    gate = it.outbox.writing = Deferred()
    for id_ in ("first", *messages):
        it.accept(id_=id_)
    it.outbox.writing = None
    return it, gate


def test_what_comes_while_a_write_is_under_way_goes_together_in_the_next() -> None:
    it, gate = busy("second", "third", "fourth")
    assert it.outbox.writes == [1]
    gate.callback(None)
    assert it.outbox.writes == [1, 3]
    assert it.outbox.waiting == 0
    assert it.counted("deliveries_total", result="delivered") == 4
    it.accept(id_="later")
    assert it.outbox.writes == [1, 3, 1]


def test_a_write_is_bounded() -> None:
    it, gate = busy(*(f"M{number}" for number in range(MOST_TOGETHER + 5)))
    gate.callback(None)
    assert it.outbox.writes == [1, MOST_TOGETHER, 5]


def test_one_that_our_bug_keeps_from_being_written_does_not_keep_the_others() -> None:
    it, gate = busy("second", "third", "fourth")
    it.outbox.poison = 3
    with capture_logs() as logs:
        gate.callback(None)
    assert [it.states(id_) for id_ in ("second", "third", "fourth")] == [[State.DELIVERED], [State.QUEUED], [State.DELIVERED]]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["unexpected error"]
    it.accept(id_="later")
    assert it.states("later") == [State.DELIVERED]


def test_those_that_wait_together_are_all_offered_again() -> None:
    it, gate = busy("second", "third")
    it.outbox.fail_with = Unavailable("away")
    gate.callback(None)
    it.wait(2)
    assert it.outbox.waiting == 3
    it.outbox.fail_with = None
    it.wait(2)
    assert it.outbox.waiting == 0


def test_a_stop_gives_up_all_that_wait_together() -> None:
    it, gate = busy("second", "third")
    it.outbox.fail_with = Unavailable("away")
    over = it.stop()
    with capture_logs() as logs:
        gate.callback(None)
    value_of(over)
    assert it.outbox.writes == [1, 2]
    assert [entry["queue_id"] for entry in logs] == ["first", "second", "third"]


def test_a_report_goes_with_its_own_outcomes_only() -> None:
    it, gate = busy()
    it.relay.results["b@x.example"] = Result.FAILED
    it.accept(to("b@x.example"), id_="bad")
    it.accept(id_="good")
    assert it.outbox.writes == [1, 1]
    assert len(it.reports) == 1
    gate.callback(None)
    assert it.outbox.writes == [1, 1, 1]


def test_each_body_is_removed_by_its_own_message() -> None:
    it = Sending()
    gate = it.outbox.writing = Deferred()
    for id_ in ("first", "second", "third"):
        it.bodies.files[id_] = b"large"
        it.accept(to("a@x.example"), to("b@x.example", BCC), id_=id_, body=Spooled(id_, 5))
    it.outbox.writing = None
    gate.callback(None)
    assert it.bodies.files == {}


def test_what_the_store_takes_no_more_is_not_told() -> None:
    it = Sending()
    it.relay.held = True
    it.accept(to("a@x.example"), to("b@x.example"))
    it.outbox.delete(1)
    with capture_logs() as logs:
        it.relay.open()
    assert it.states() == [State.DELETED, State.DELIVERED]
    assert it.counted("deliveries_total", result="delivered") == 1
    assert [entry["recipient"] for entry in logs if entry["event"] == "delivered"] == [2]
