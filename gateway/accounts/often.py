"""Whose passwords were hashed often lately: more often than anybody needs whose password is remembered once it was right.

Whoever has one account, or sits in the network of somebody who has, could else have hashes without end and never be wrong too
often: two wrong ones and a right one in turn, hanging up before the answer, right ones that differ past what bcrypt reads.
"""

from collections import OrderedDict
from collections.abc import Hashable

_AT_ONCE = 4  # a few mistakes, then the right one
_EVERY = 15.0  # seconds after which one more is free again
_REMEMBERED = 4096


class Often:
    """Counts hashes for each `who`, of whom the latest are remembered; `now` in seconds of a clock that only grows."""

    def __init__(self) -> None:
        self._until: OrderedDict[Hashable, float] = OrderedDict()  # when all of theirs will be forgotten

    def note(self, who: Hashable, now: float) -> bool:
        """Count one more; whether it is one too many."""
        until = max(self._until.pop(who, now), now) + _EVERY
        self._until[who] = until
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)
        return until - now > _AT_ONCE * _EVERY

    def forgive(self, who: Hashable) -> None:
        """Take back one that came to no hash."""
        if who in self._until:
            self._until[who] -= _EVERY
