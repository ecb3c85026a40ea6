"""A deadline that is moved often: when it expires, and what timers it costs."""

from twisted.internet.task import Clock

from gateway.deadline import FIRST_LOOK, Deadline


class Expiring:
    def __init__(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.expired.append(self.clock.seconds()))


def test_it_expires_once() -> None:
    it = Expiring()
    it.deadline.within(10)
    it.clock.pump([9.9, 0.1, 100])
    assert it.expired == [10]
    assert not it.deadline.running


def test_moved_later_it_expires_later_with_one_timer() -> None:
    it = Expiring()
    for _ in range(5):
        it.deadline.within(10)
        it.clock.advance(9)
        assert len(it.clock.getDelayedCalls()) == 1
    it.clock.advance(1)
    assert it.expired == [46]


def test_moved_earlier_it_expires_earlier() -> None:
    it = Expiring()
    it.deadline.within(100)
    it.deadline.within(10)
    it.clock.advance(10)
    assert it.expired == [10]
    it.clock.advance(90)
    assert it.expired == [10]


def test_less_time_than_at_first_costs_no_moved_timer() -> None:
    it = Expiring()
    it.deadline.within(300)
    timers = it.clock.getDelayedCalls()
    it.deadline.within(20)
    assert it.clock.getDelayedCalls() == timers
    assert timers[0].getTime() == FIRST_LOOK
    it.clock.pump([FIRST_LOOK, 20 - FIRST_LOOK])
    assert it.expired == [20]


def test_cleared_it_does_not_expire_and_can_be_set_again() -> None:
    it = Expiring()
    it.deadline.within(10)
    it.deadline.clear()
    assert not it.deadline.running
    it.clock.advance(5)
    it.deadline.within(10)
    assert it.deadline.running
    it.clock.pump([5, 4.9])
    assert it.expired == []
    it.clock.advance(0.1)
    assert it.expired == [15]


def test_stopped_it_gives_its_timer_back() -> None:
    it = Expiring()
    it.deadline.stop()
    it.deadline.within(10)
    it.deadline.stop()
    assert it.clock.getDelayedCalls() == []
    assert not it.deadline.running


def test_no_time_at_all_expires_at_the_next_turn() -> None:
    it = Expiring()
    it.deadline.within(100)
    it.deadline.within(0)
    it.clock.advance(0)
    assert it.expired == [0]


def test_it_may_be_set_again_by_what_it_calls() -> None:
    clock, expired = Clock(), list[float]()

    def again() -> None:
        expired.append(clock.seconds())
        deadline.within(10)

    deadline = Deadline(clock, again)
    deadline.within(10)
    clock.pump([10, 10])
    assert expired == [10, 20]
