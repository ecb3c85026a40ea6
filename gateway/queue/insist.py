"""Writes to a store that may be away: offered again and again until it takes them, or we stop."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from gateway import maillog
from gateway.errors import Unavailable

T = TypeVar("T")

STORE_PAUSE = 1.0  # seconds before what the store refused is offered again


class Insist:
    """`clock` is an IReactorTime. `refused`: something waits for the store, so nothing new should be begun."""

    def __init__(self, clock: Any) -> None:
        self.refused = False
        self.stopping = False
        self._clock = clock

    async def until_done(self, doing: str, write: Callable[[], Awaitable[T]]) -> T:
        """The result of `write`, once the store took it. Raises Unavailable only when we stop."""
        while True:
            try:
                written = await write()
                self.refused = False
                return written
            except Unavailable as away:
                if self.stopping:
                    raise
                if not self.refused:
                    maillog.store_unavailable(doing, str(away))
                self.refused = True
                await self._pause()

    def _pause(self) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self._clock.callLater(STORE_PAUSE, pause.callback, None)
        return pause
