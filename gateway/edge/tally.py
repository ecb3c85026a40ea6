"""Open sessions of the other processes of this machine, told to each other through memory that they share.

Theory of operation. Each process writes into a region of its own and reads those of the others, so there are no locks, and
the region of one that died is cleared by whoever started it. A region has the number of open sessions, and a count-min
sketch of how many each network has (Cormode and Muthukrishnan, 2005): ROWS rows of CELLS counters, in each of which a network
has one, by a keyed hash; the smallest of them is what counts. So it has a fixed size and nothing has to be looked for or
tidied up. Two networks with all their counters in common would count together: with a thousand networks at once, that is
one pair in a hundred thousand.

Whoever enters counts itself first and looks then. Two that enter at once may so both find the last place taken, but never
both have it.
"""

import mmap
import os
import tempfile
from hashlib import blake2b

ROWS = 4
CELLS = 1 << 14  # of 32 bits each, a power of two: a region has 256 KiB, and only what is written takes memory
KEY_OCTETS = 16
_REGION = 1 + ROWS * CELLS  # counters of 32 bits


def shared_memory(processes: int) -> int:
    """A descriptor of empty memory for so many processes, which inherit it: numbers 0 to `processes` - 1. Raises OSError."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("smtp-gateway", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _octets(processes))
    return descriptor


class Tally:
    """Process `ours` of `processes`; all have the same `key` of KEY_OCTETS random octets, which nobody else may know.

    Implements `gateway.edge.limits.Elsewhere`.
    """

    def __init__(self, descriptor: int, processes: int, ours: int, key: bytes) -> None:
        self._key = key
        counters = memoryview(mmap.mmap(descriptor, _octets(processes))).cast("I")
        self._regions = [counters[start : start + _REGION] for start in range(0, len(counters), _REGION)]
        self._ours = self._regions[ours]
        self._others = [region for number, region in enumerate(self._regions) if number != ours]

    def change(self, network: str, by: int) -> None:
        """See the port."""
        self._ours[0] += by
        for cell in self._cells(network):
            self._ours[cell] += by

    def total(self) -> int:
        """See the port."""
        return sum(region[0] for region in self._others)

    def of(self, network: str) -> int:
        """See the port."""
        cells = self._cells(network)
        return sum(min(region[cell] for cell in cells) for region in self._others)

    def clear(self, number: int) -> None:
        """Process `number` is dead."""
        region = self._regions[number].cast("B")
        region[:] = bytes(len(region))

    def _cells(self, network: str) -> list[int]:
        """Where the network's counters are; "" has none."""
        if not network:
            return []
        digest = blake2b(network.encode("ascii"), digest_size=4 * ROWS, key=self._key).digest()
        places = memoryview(digest).cast("I")
        return [1 + row * CELLS + place % CELLS for row, place in enumerate(places)]


def _octets(processes: int) -> int:
    return 4 * _REGION * processes
