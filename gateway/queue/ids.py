"""Queue ids: 16 characters that sort by time, so that new rows go to the end of their index."""

from collections.abc import Callable

DRAWN = 4096  # octets of entropy at a time: the operating system is asked once in a thousand ids

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, in order of value and of its characters
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]


def queue_id(epoch: float, entropy: bytes) -> str:
    """48 bits of milliseconds since the epoch, then the 32 of `entropy` (4 octets)."""
    value = (int(epoch * 1000) & (1 << 48) - 1) << 32 | int.from_bytes(entropy[:4], "big")
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(70, -1, -10)])


class QueueIds:
    """Makes ids. `now` gives seconds since the epoch, `draw` as many octets of entropy as it is asked for."""

    def __init__(self, now: Callable[[], float], draw: Callable[[int], bytes]) -> None:
        self._now = now
        self._draw = draw
        self._drawn = b""
        self._used = 0

    def make(self) -> str:
        """An id that nobody has had; no entropy is used twice."""
        if self._used == len(self._drawn):
            self._drawn, self._used = self._draw(DRAWN), 0
        self._used += 4
        return queue_id(self._now(), self._drawn[self._used - 4 : self._used])
