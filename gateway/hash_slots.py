"""How many passwords all workers of a gateway hash at once: as many as there are slots, whoever has the passwords.

The kernel spreads connections unevenly, so each worker has more hash threads than its part of the cores asks for. What bounds
them together, for a hash may take a core and 64 MiB, are locks on files of the state directory, which the kernel frees when a
process dies. A slot that nobody gives back (its worker stands still) is not waited for without end.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STEP = 0.01  # seconds between two looks, in a hash thread
LOOKS = 500  # five seconds of them


class HashSlots:
    """`count` of them, the same for all who name this `folder` and `name`; 0 for no bound. `sleep` takes seconds."""

    def __init__(self, folder: Path, name: str, count: int, sleep: Callable[[float], object]) -> None:
        self._paths = [folder / f"{name}-{number}" for number in range(1, count + 1)]
        self._sleep = sleep

    @contextmanager
    def taken(self, count: int = 1) -> Iterator[None]:
        """Have so many slots meanwhile; waits for them, so it is for a hash thread. Where files cannot be locked there are no
        slots."""
        with self._wait(min(count, len(self._paths))):
            yield

    def _wait(self, count: int) -> ExitStack:
        """What gives the slots back, if there are any by then."""
        with suppress(OSError):
            for _ in range(LOOKS if count else 0):
                locks = self._free(count)
                if locks is not None:
                    return locks
                self._sleep(STEP)
        return ExitStack()

    def _free(self, count: int) -> ExitStack | None:
        """The locks of so many that are free, all at once: who held some and waited for more would wait for another like it.

        Raises OSError.
        """
        with ExitStack() as locks:
            for path in self._paths:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                locks.callback(os.close, descriptor)
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    count -= 1
                if not count:
                    return locks.pop_all()
        return None
