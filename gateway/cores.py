"""Which cores of the machine our threads run on.

Python runs one thread of a process at a time. On several cores its threads hand the interpreter's lock from core to core and
wake one another up for it; on one core the same work takes up to a quarter less (benchmarks/NOTES.md). So each of several
workers keeps to a core of its own, all but its hash threads, which need no interpreter while they hash. A process that serves
alone stays free to go where there is room.
"""

import os
from collections.abc import Set
from contextlib import suppress

_KNOWN = hasattr(os, "sched_setaffinity")  # on Linux


def usable_cores() -> Set[int]:
    """The cores that the calling thread may run on, by number."""
    return os.sched_getaffinity(0) if _KNOWN else frozenset(range(os.cpu_count() or 1))


def run_on(cores: Set[int]) -> None:
    """Let the calling thread, and what it starts from now on, run on these alone. Where that cannot be had, nothing happens."""
    if _KNOWN:
        with suppress(OSError):  # taken from us meanwhile
            os.sched_setaffinity(0, cores)


def core_of(worker: int, cores: Set[int]) -> Set[int]:
    """The core for worker 1, 2 and so on: one each while there are enough."""
    return {sorted(cores)[(worker - 1) % len(cores)]}
