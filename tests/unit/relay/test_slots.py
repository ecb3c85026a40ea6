"""Slots: the bound, the order, and a long line that moves all at once."""

from twisted.internet.defer import Deferred

from gateway.relay.slots import Slots
from tests.unit.awaiting import assert_pending, failure_of, value_of


def test_bound_and_order() -> None:
    slots = Slots(2)
    first, second, third, fourth = (slots.take() for _ in range(4))
    value_of(first)
    value_of(second)
    assert_pending(third)
    assert slots.free == 0
    slots.give_back()
    value_of(third)
    assert_pending(fourth)
    slots.give_back()
    slots.give_back()
    value_of(fourth)
    assert slots.free == 1


def test_whoever_need_not_wait_passes_nobody_in_line() -> None:
    slots = Slots(1)
    assert slots.take_now()
    assert not slots.take_now()
    first, second = slots.take(), slots.take()
    passed: list[bool] = []

    def leave(_: None) -> None:
        slots.give_back()
        passed.append(slots.take_now())

    first.addCallback(leave)
    slots.give_back()
    value_of(second)
    assert passed == [False]


def test_who_cancels_leaves_the_line() -> None:
    slots = Slots(1)
    value_of(slots.take())
    leaving, staying = slots.take(), slots.take()
    leaving.addErrback(lambda _: None)
    leaving.cancel()
    slots.give_back()
    value_of(staying)
    assert slots.free == 0


def test_a_long_line_that_gives_back_at_once_does_not_go_deep() -> None:
    slots = Slots(1)
    value_of(slots.take())
    served: list[int] = []

    async def visit(n: int) -> None:
        await slots.take()
        served.append(n)
        slots.give_back()

    visits = [Deferred.fromCoroutine(visit(n)) for n in range(5000)]
    slots.give_back()
    for one in visits:
        value_of(one)
    assert served == list(range(5000))
    assert slots.free == 1


def test_more_places_go_to_those_in_line_and_are_gone_when_given_back() -> None:
    slots = Slots(1)
    value_of(slots.take())
    second, third = slots.take(), slots.take()
    slots.widen(1)
    value_of(second)
    assert_pending(third)
    slots.widen(-1)
    assert slots.free == -1
    slots.give_back()
    assert_pending(third)
    slots.give_back()
    value_of(third)
    assert (slots.free, slots.waiting) == (0, 0)


def test_those_in_line_are_turned_away_at_once() -> None:
    slots = Slots(1)
    value_of(slots.take())
    waiting = [slots.take() for _ in range(2)]
    slots.turn_away(lambda: RuntimeError("hangs"))
    for one in waiting:
        failure_of(one, RuntimeError)
    slots.give_back()
    assert slots.take_now()
