"""How outcomes come into the store: each by itself, and what is told of those that came too late."""

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway.errors import Unavailable
from gateway.queue.model import Spooled, State
from tests.unit.awaiting import value_of
from tests.unit.queue.sending import BCC, Sending, to


def busy(*messages: str) -> tuple[Sending, "Deferred[None]"]:
    """The outcomes of these messages are being written; fire what comes back to let it go on."""
    it = Sending()
    gate = it.outbox.writing = Deferred()
    for id_ in messages:
        it.accept(id_=id_)
    it.outbox.writing = None
    return it, gate


def test_no_outcome_waits_for_the_write_of_another() -> None:
    it, gate = busy("first", "second")
    assert it.outbox.writes == [1, 1]  # the store puts them together
    it.accept(id_="third")
    assert it.states("third") == [State.DELIVERED]
    gate.callback(None)
    assert it.counted("deliveries_total", result="delivered") == 3


def test_one_that_our_bug_keeps_from_being_written_does_not_keep_the_others() -> None:
    it, gate = busy("first", "second", "third")
    it.outbox.poison = 2
    with capture_logs() as logs:
        gate.callback(None)
    assert [it.states(id_) for id_ in ("first", "second", "third")] == [[State.DELIVERED], [State.QUEUED], [State.DELIVERED]]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["unexpected error"]


def test_all_that_the_store_refused_is_offered_again() -> None:
    it, gate = busy("first", "second")
    it.outbox.fail_with = Unavailable("away")
    with capture_logs() as logs:
        gate.callback(None)
        it.wait(2)
    assert it.outbox.waiting == 2
    assert len(logs) == 1  # what is refused is said once, however many wait
    it.outbox.fail_with = None
    it.wait(2)
    assert it.outbox.waiting == 0


def test_a_stop_gives_up_all_that_wait() -> None:
    it, gate = busy("first", "second")
    it.outbox.fail_with = Unavailable("away")
    over = it.stop()
    with capture_logs() as logs:
        gate.callback(None)
    value_of(over)
    assert it.outbox.writes == [1, 1]
    assert [entry["queue_id"] for entry in logs] == ["first", "second"]


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
