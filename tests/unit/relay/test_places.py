"""Places: the bound on connections to a hop, and what changes while all of them hang."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway.relay.hop import HopDown
from gateway.relay.places import HANGS, LOOK, Place, Places
from tests.unit.awaiting import assert_pending, failure_of, value_of


class Answering:
    """A connection that waits for an answer since it was made, until it has got one."""

    def __init__(self, clock: Clock) -> None:
        self.waits_since: float | None = clock.seconds()


class Scene:
    """`busy` places of `limit` are taken, and their connections wait from now on."""

    def __init__(self, limit: int, busy: int) -> None:
        self.clock = Clock()
        self.places = Places(limit, self.clock)
        self.busy = [self.one_more() for _ in range(busy)]

    def one_more(self) -> Place:
        """A place that is free, and whose connection waits from now on."""
        place = self.places.take_now()
        assert place is not None
        place.connection = Answering(self.clock)
        return place

    def take(self) -> Deferred[Place]:
        return Deferred.fromCoroutine(self.places.take())

    def pass_by(self, seconds: float) -> None:
        self.clock.pump([1.0] * round(seconds))

    def refused(self, waiting: Deferred[Place]) -> str:
        return failure_of(waiting, HopDown).reason


def test_at_most_as_many_as_there_are_places() -> None:
    scene = Scene(2, busy=2)
    assert scene.places.take_now() is None
    waiting = scene.take()
    assert_pending(waiting)
    scene.places.give_back(scene.busy[0])
    value_of(waiting)
    assert scene.places.taken == 2


def test_those_in_line_are_turned_away_when_all_hang() -> None:
    scene = Scene(2, busy=2)
    first, second = scene.take(), scene.take()
    scene.pass_by(HANGS - LOOK)
    assert_pending(first)
    scene.pass_by(2 * LOOK)
    for waiting in (first, second):
        assert scene.refused(waiting) == "all 2 connections have waited for an answer for more than a minute"


def test_the_first_that_comes_when_all_hang_is_turned_away_at_once() -> None:
    scene = Scene(2, busy=2)
    scene.pass_by(HANGS)
    scene.refused(scene.take())


def test_nobody_is_turned_away_while_one_connection_gets_on() -> None:
    changes: list[Callable[[Scene, Place], None]] = [
        lambda scene, place: setattr(place.connection, "waits_since", scene.clock.seconds()),  # it has answered
        lambda _, place: setattr(place.connection, "waits_since", None),  # our turn: the store, the disk
        lambda _, place: setattr(place, "connection", None),  # connects anew
    ]
    for change in changes:
        scene = Scene(3, busy=3)
        waiting = scene.take()
        scene.pass_by(HANGS - 2 * LOOK)
        change(scene, scene.busy[1])
        scene.pass_by(4 * LOOK)
        assert_pending(waiting)
        assert_pending(scene.take())


def hanging(limit: int) -> Scene:
    """All of `limit` hang, and that has been found out."""
    scene = Scene(limit, busy=limit)
    scene.pass_by(HANGS)
    scene.refused(scene.take())
    return scene


def test_a_hop_whose_places_all_hang_has_a_quarter_more() -> None:
    for limit, more in ((1, 1), (3, 1), (8, 2), (20, 5)):
        scene = hanging(limit)
        extra = [scene.one_more() for _ in range(more)]
        assert scene.places.take_now() is None
        waiting = scene.take()
        assert_pending(waiting)
        scene.places.give_back(extra[0])  # it has got through: the next one does too
        value_of(waiting)


def test_further_places_that_hang_too_are_all_there_are() -> None:
    scene = hanging(4)
    scene.one_more()
    waiting = scene.take()
    scene.pass_by(HANGS + LOOK)
    assert "all 5 connections" in scene.refused(waiting)
    scene.refused(scene.take())
    assert scene.places.take_now() is None


def test_the_further_places_go_when_the_hop_answers() -> None:
    scene = hanging(4)
    extra = scene.one_more()
    scene.places.give_back(scene.busy.pop())
    scene.places.give_back(scene.busy.pop())
    assert scene.places.taken == 3
    scene.one_more()
    assert scene.places.take_now() is None
    scene.places.give_back(extra)
    scene.one_more()
    assert scene.places.take_now() is None


def test_no_timer_runs_while_nobody_is_in_line() -> None:
    scene = Scene(2, busy=2)
    assert not scene.clock.getDelayedCalls()
    waiting = scene.take()
    scene.places.close()  # the one in line is still looked after
    assert len(scene.clock.getDelayedCalls()) == 1
    scene.places.give_back(scene.busy[0])
    value_of(waiting)
    scene.pass_by(LOOK)
    assert not scene.clock.getDelayedCalls()
