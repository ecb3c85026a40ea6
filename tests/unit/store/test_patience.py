"""Patience with a database that hangs: everybody's own time is up in its turn, whatever happens meanwhile."""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.store.patience import Patience


class StrictClock(Clock):
    """As the real reactor, which raises where a plain Clock would call at once."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        assert delay >= 0
        return super().callLater(delay, callable, *args, **kw)


class Waits:
    """A wait each; `given_up` are those that were cancelled, by number."""

    def __init__(self) -> None:
        self.clock = StrictClock()
        self.patience = Patience(self.clock, 10.0)
        self.given_up: list[int] = []

    def begin(self, number: int) -> "Deferred[None]":
        result: Deferred[None] = Deferred()

        def over(failure: Failure) -> None:
            failure.trap(CancelledError)
            self.given_up.append(number)

        result.addErrback(over)
        self.patience.begin(result)
        return result


def test_each_has_its_own_time() -> None:
    waits = Waits()
    waits.begin(1)
    waits.clock.advance(4)
    waits.begin(2)
    waits.clock.advance(6)
    assert waits.given_up == [1]
    waits.clock.advance(4)
    assert waits.given_up == [1, 2]
    assert not waits.clock.getDelayedCalls()


def test_telling_one_may_take_longer_than_the_next_has_left() -> None:
    waits = Waits()
    waits.begin(1).addCallback(lambda _: setattr(waits.clock, "rightNow", waits.clock.rightNow + 1.0))  # a busy turn
    waits.clock.advance(0.5)
    waits.begin(2)
    waits.clock.advance(9.5)
    waits.clock.advance(0)
    assert waits.given_up == [1, 2]
    waits.begin(3)
    waits.clock.advance(10)
    assert waits.given_up == [1, 2, 3]


def test_who_is_told_may_end_the_wait_of_another() -> None:
    waits = Waits()
    first, second = waits.begin(1), waits.begin(2)
    first.addCallback(lambda _: waits.patience.end(second))
    waits.clock.advance(10)
    assert waits.given_up == [1]
    waits.begin(3)
    waits.clock.advance(10)
    assert waits.given_up == [1, 3]
