"""NextHops: order, rest and probe, with hops that do as told and a clock that the test moves."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from gateway.errors import Unavailable
from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage, Recipient, Result
from gateway.relay.hop import HopDown
from gateway.relay.next_hops import NextHops
from tests.unit.awaiting import assert_pending, failure_of, value_of
from tests.unit.relay.faulty_hop import message, trusted


class ToldHop:
    """A hop that is up, down with a reason, or slow."""

    def __init__(self, label: str, down: str = "") -> None:
        self.label = label
        self.down = down
        self.asked = 0
        self.slow: list[Deferred[list[Outcome]]] | None = None
        self.closed = False

    def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> Deferred[list[Outcome]]:
        self.asked += 1
        if self.slow is not None:
            self.slow.append(Deferred())
            return self.slow[-1]
        if self.down:
            return fail(HopDown(self.down))
        return succeed(self.outcomes(recipients))

    def outcomes(self, recipients: Sequence[Recipient]) -> list[Outcome]:
        return [Outcome(r, Result.FAILED, 550, "5.1.1", "nobody", self.label) for r in recipients]

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


def send(hops: NextHops) -> Deferred[list[Outcome]]:
    queued = message("b@y.example", "c@y.example")
    return Deferred.fromCoroutine(hops.deliver(queued, queued.recipients, trusted(queued)))


def test_a_refusal_is_final_and_the_next_hop_is_not_asked() -> None:
    first, second = ToldHop("first"), ToldHop("second")
    outcomes = value_of(send(NextHops([first, second], Clock())))
    assert [(outcome.result, outcome.hop) for outcome in outcomes] == [(Result.FAILED, "first")] * 2
    assert second.asked == 0


def test_a_hop_that_is_down_rests_and_the_next_is_used() -> None:
    clock = Clock()
    first, second = ToldHop("first", down="refused"), ToldHop("second")
    hops = NextHops([first, second], clock)
    for _ in range(3):
        assert value_of(send(hops))[0].hop == "second"
    assert first.asked == 1
    clock.advance(1)
    value_of(send(hops))
    assert first.asked == 2
    clock.advance(1)
    value_of(send(hops))
    assert first.asked == 2  # two seconds this time
    first.down = ""
    clock.advance(1)
    assert value_of(send(hops))[0].hop == "first"
    assert value_of(send(hops))[0].hop == "first"


def test_no_hop_at_all_burns_nothing_and_says_why() -> None:
    hops = NextHops([ToldHop("first", down="refused"), ToldHop("second", down="no greeting")], Clock())
    for _ in range(2):
        outcomes = value_of(send(hops))
        assert [(o.result, o.code, o.burns_attempt) for o in outcomes] == [(Result.RETRY, 0, False)] * 2
        assert outcomes[0].text == "No next hop can be reached: first: refused; second: no greeting"


def test_while_the_probe_is_out_the_others_do_not_wait_for_it() -> None:
    clock = Clock()
    first, second = ToldHop("first", down="refused"), ToldHop("second")
    hops = NextHops([first, second], clock)
    value_of(send(hops))
    clock.advance(1)
    first.slow = []
    probe = send(hops)
    assert_pending(probe)
    assert value_of(send(hops))[0].hop == "second"
    first.slow[0].callback(first.outcomes(message().recipients))
    assert value_of(probe)[0].hop == "first"


def test_failures_of_attempts_under_way_together_count_once() -> None:
    clock = Clock()
    first, second = ToldHop("first"), ToldHop("second")
    first.slow = []
    hops = NextHops([first, second], clock)
    under_way = [send(hops) for _ in range(5)]
    for one in first.slow:
        one.errback(HopDown("refused"))
    assert [value_of(one)[0].hop for one in under_way] == ["second"] * 5
    first.slow = None
    clock.advance(1)
    assert value_of(send(hops))[0].hop == "first"


def test_a_body_that_cannot_be_read_says_nothing_about_the_hop() -> None:
    clock = Clock()
    first = ToldHop("first", down="refused")
    hops = NextHops([first], clock)
    value_of(send(hops))
    clock.advance(1)
    first.slow = []
    probe = send(hops)
    first.slow[0].errback(Unavailable("the disk is gone"))
    failure_of(probe, Unavailable)
    first.slow, first.down = None, ""
    assert value_of(send(hops))[0].result is Result.FAILED  # asked, and refused by its words


def test_a_connection_that_is_lost_does_not_show_that_the_hop_is_back() -> None:
    """It was taken for that: after a hop had vanished, each connection to it that was given up made further mail try it."""
    clock = Clock()
    first, second = ToldHop("first"), ToldHop("second")
    first.slow = []
    hops = NextHops([first, second], clock)
    lost, other = send(hops), send(hops)
    first.slow[1].errback(HopDown("cannot connect"))
    assert value_of(other)[0].hop == "second"
    first.slow[0].callback([Outcome(r, Result.RETRY, 0, "4.4.2", "timed out", "first") for r in message().recipients])
    assert value_of(lost)[0].hop == "first"
    assert value_of(send(hops))[0].hop == "second"


def test_close_closes_all() -> None:
    told = [ToldHop("first"), ToldHop("second")]
    value_of(Deferred.fromCoroutine(NextHops(told, Clock()).close()))
    assert all(hop.closed for hop in told)


def test_capacity_is_none_at_rest_one_for_the_probe_and_many_when_a_hop_is_well() -> None:
    clock = Clock()
    hop = ToldHop("only", down="refused")
    hops = NextHops([hop], clock)
    assert hops.capacity() > 1
    value_of(send(hops))
    assert hops.capacity() == 0
    clock.advance(1)
    assert hops.capacity() == 1
    hop.slow = []
    probe = send(hops)
    assert hops.capacity() == 0  # one probe at a time
    hop.slow[0].callback(hop.outcomes(message().recipients))
    value_of(probe)
    assert hops.capacity() > 1
