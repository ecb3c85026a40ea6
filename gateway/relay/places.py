"""Places: which deliveries have a connection to one hop, and what happens when all those connections hang.

A hop may take a message and never answer, over a connection that stays good. RFC 5321 section 4.5.3.2 lets us wait for ten
minutes then, and we do, since giving up there makes a second copy (RFC 1047). When the deliveries in all places hang so, those
in line are turned away, for another hop. This hop gets a few more places, for the probe that finds out whether it answers on
other connections, and for mail that has no other way.
"""

from typing import Any, Protocol

from gateway.relay.hop import HopDown
from gateway.relay.slots import Slots

HANGS = 60.0  # seconds without an answer after which a connection counts as one that hangs
LOOK = 5.0  # seconds between two looks for such connections, while deliveries wait for a place
EXTRA = 4  # of so many places, one more while all hang


class Waiting(Protocol):
    """A connection."""

    @property
    def waits_since(self) -> float | None:
        """By the clock of its limits, since when the hop owes it an answer; None when it owes none."""
        ...


class Place:
    """One delivery's. `connection` is the one that it uses, None before it has one: to connect has a short limit of its own."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: Waiting | None = None


class Places:
    """`limit` places, and a quarter more (at least one) while the connections in all of them hang.

    `clock` is an IReactorTime, that of the connections' time limits.
    """

    def __init__(self, limit: int, clock: Any) -> None:
        self._limit = limit
        self._extra = max(1, limit // EXTRA)
        self._slots = Slots(limit)
        self._clock = clock
        self._taken: set[Place] = set()
        self._hanging = False  # the hop has its extra places
        self._next_look: Any = None  # the IDelayedCall
        self._closing = False

    @property
    def taken(self) -> int:
        return len(self._taken)

    def take_now(self) -> Place | None:
        """A place, if that needs no waiting."""
        return self._entered() if self._slots.take_now() else None

    async def take(self) -> Place:
        """A place, once it is the caller's turn. Raises HopDown when all connections hang."""
        if self._all_hang():
            down = self._down()
            self._turn_away()
            raise down
        turn = self._slots.take()
        self._look_later()
        await turn
        return self._entered()

    def give_back(self, place: Place) -> None:
        self._taken.discard(place)
        if self._hanging:
            self._narrow()
        self._slots.give_back()

    def close(self) -> None:
        """Look no more, once nobody is in line."""
        self._closing = True
        if self._next_look is not None and not self._slots.waiting:
            self._next_look.cancel()
            self._next_look = None

    def _entered(self) -> Place:
        place = Place()
        self._taken.add(place)
        return place

    # Hanging

    def _look_later(self) -> None:
        if self._next_look is None and self._slots.waiting:
            self._next_look = self._clock.callLater(LOOK, self._look)

    def _look(self) -> None:
        self._next_look = None
        if self._hanging:
            self._narrow()
        if self._slots.waiting and self._all_hang():
            self._turn_away()
        self._look_later()

    def _all_hang(self) -> bool:
        """Whether there is no place, and will be none soon."""
        return self._slots.free <= 0 and self._hang() >= self._slots.limit

    def _hang(self) -> int:
        """How many connections hang."""
        limit = self._clock.seconds() - HANGS
        connections = (place.connection for place in self._taken)
        return sum(one is not None and one.waits_since is not None and one.waits_since <= limit for one in connections)

    def _turn_away(self) -> None:
        """Send all in line to other hops, and give this one its extra places."""
        self._slots.turn_away(self._down)
        if not self._hanging:
            self._hanging = True
            self._slots.widen(self._extra)

    def _narrow(self) -> None:
        """Take the extra places back when they have no reason any more."""
        if self._hang() < self._limit:
            self._hanging = False
            self._slots.widen(-self._extra)

    def _down(self) -> HopDown:
        return HopDown(f"all {self._slots.limit} connections have waited for an answer for more than a minute")
