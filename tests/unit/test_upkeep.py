"""Loops that survive what goes wrong in them."""

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from gateway.errors import Unavailable
from gateway.upkeep import PAUSE, Upkeep, in_steps


def test_it_goes_on_after_a_failure() -> None:
    clock, turns = Clock(), list[float]()

    async def work() -> None:
        turns.append(clock.seconds())
        if len(turns) == 1:
            raise Unavailable("away")
        if len(turns) == 2:
            raise RuntimeError("a bug")

    upkeep = Upkeep(clock)
    upkeep.every(10, "sweeping", work)
    with capture_logs() as logs:
        clock.pump([10] * 4)
    assert turns == [10, 20, 30, 40]
    assert [(entry["event"], entry["doing"]) for entry in logs] == [
        ("upkeep failed, it is tried again", "sweeping"),
        ("unexpected error", "sweeping"),
    ]


def test_one_at_a_time() -> None:
    clock, turns = Clock(), list[Deferred[None]]()

    async def work() -> None:
        turns.append(Deferred())
        await turns[-1]

    upkeep = Upkeep(clock)
    upkeep.every(10, "sweeping", work)
    clock.pump([10] * 3)
    assert len(turns) == 1
    turns[0].callback(None)
    clock.advance(10)
    assert len(turns) == 2


@pytest.mark.parametrize("running", [False, True])
def test_stopped_it_leaves_no_timer(running: bool) -> None:
    clock = Clock()
    waiting: Deferred[None] = Deferred()

    async def work() -> None:
        await waiting

    upkeep = Upkeep(clock)
    upkeep.every(10, "sweeping", work)
    clock.advance(10 if running else 0)
    upkeep.stop()
    waiting.callback(None)
    assert clock.getDelayedCalls() == []


def test_a_long_work_pauses_after_each_step() -> None:
    clock, left, told = Clock(), [500, 500, 3, 0], list[int]()

    async def step() -> int:
        return left.pop(0)

    ensureDeferred(in_steps(step, clock)).addCallback(told.append)
    assert len(left) == 3
    clock.advance(PAUSE / 2)
    assert len(left) == 3
    clock.pump([PAUSE] * 3)
    assert (left, told) == ([], [1003])
