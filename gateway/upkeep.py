"""What is done again and again while the gateway runs: each in its turn, and again after it failed."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.task import LoopingCall, deferLater

from gateway import maillog
from gateway.errors import Unavailable

Work = Callable[[], Awaitable[object]]

PAUSE = 0.05  # seconds between two steps of a long work


class Upkeep:
    """Keeps the loops. `clock` is an IReactorTime."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._loops: list[LoopingCall] = []

    def every(self, seconds: float, doing: str, work: Work) -> None:
        """Do `work` each `seconds`, first after as many; a turn that comes while it still runs is left out."""
        loop = LoopingCall(attempt, doing, work)
        loop.clock = self._clock
        loop.start(seconds, now=False)
        self._loops.append(loop)

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        self._loops.clear()


async def in_steps(step: Callable[[], Awaitable[int]], clock: Any) -> int:
    """Take `step` after `step` until one finds nothing more; how much they found together. `clock` is an IReactorTime.

    With a pause after each: who wants to write to the store meanwhile waits for one step, and mostly for none.
    """
    found = 0
    while more := await step():
        found += more
        await deferLater(clock, PAUSE)
    return found


async def attempt(doing: str, work: Work) -> None:
    """Do it once; what goes wrong is logged, for a loop that raises would never run again."""
    try:
        await work()
    except Unavailable as away:
        maillog.upkeep_failed(doing, str(away))
    except Exception as error:
        maillog.bug(doing, error)
