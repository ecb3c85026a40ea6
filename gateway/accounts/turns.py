"""Whose turn it is: round robin over networks, first come first served within one; known networks have every other turn."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Items that wait, each in the lane of a network, once at most. `len()` is how many.

    A network's wait depends on how many networks wait and on its own items, never on how many another one has.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()  # the first lane is next; none is empty
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def ahead(self, network: str) -> int:
        """How many items have their turn before one that `network` added now."""
        own = len(self._ring.get(network, ()))
        turns = own + 1  # of each lane that comes before ours in a round; those behind it have one less
        total = own
        for name, lane in self._ring.items():
            if name == network:
                turns = own
            else:
                total += min(len(lane), turns)
        return total

    def add(self, network: str, item: T) -> None:
        """Put `item` last in the lane of `network`, unless it is there."""
        lane = self._ring.setdefault(network, OrderedDict())
        self._length += item not in lane
        lane.setdefault(item)

    def discard(self, network: str, item: T) -> None:
        """Take `item` out of the lane of `network`, if it is there; the network keeps its place in the round."""
        lane = self._ring.get(network)
        if lane is None or item not in lane:
            return
        del lane[item]
        self._length -= 1
        if not lane:
            del self._ring[network]

    def first(self) -> T | None:
        """The item whose turn it is."""
        return next((item for lane in self._ring.values() for item in lane), None)

    def take(self) -> T:
        """Remove the item whose turn it is from its lane, and let the next network be first. Raises KeyError if none waits."""
        network, lane = self._ring.popitem(last=False)
        item, _ = lane.popitem(last=False)
        self._length -= 1
        if lane:
            self._ring[network] = lane
        return item


class TwoRounds(Generic[T]):
    """Two rounds of turns that alternate: of networks that their account is known from, and of all others.

    So a flood from however many strange networks at most doubles an owner's wait at home.
    """

    def __init__(self) -> None:
        self._known: Turns[T] = Turns()
        self._strange: Turns[T] = Turns()
        self._strange_next = False

    def __len__(self) -> int:
        return len(self._known) + len(self._strange)

    def ahead(self, network: str, *, known: bool, apart: bool = False) -> int:
        """How many items have their turn before one added now; of the other round, one for each of ours and ours itself, or
        none if the two go on `apart`."""
        ours, theirs = (self._known, self._strange) if known else (self._strange, self._known)
        own = ours.ahead(network)
        return own if apart else own + min(len(theirs), own + 1)

    def add(self, network: str, item: T, *, known: bool) -> None:
        self._round(known).add(network, item)

    def discard(self, network: str, item: T) -> None:
        self._known.discard(network, item)
        self._strange.discard(network, item)

    def order(self) -> tuple[bool, bool]:
        """Whether the round whose turn it is is that of known networks, and whether the other is."""
        return not self._strange_next, self._strange_next

    def first(self, *, known: bool) -> T | None:
        """The item of this round whose turn it is."""
        return self._round(known).first()

    def take(self, *, known: bool) -> T:
        """Remove that item; the other round is next. Raises KeyError if none waits."""
        self._strange_next = known
        return self._round(known).take()

    def _round(self, known: bool) -> Turns[T]:
        return self._known if known else self._strange
