"""How many passwords all workers of a gateway hash at once: as many as there are slots, whoever has the passwords.

The kernel spreads connections unevenly, so each worker has more hash threads than its part of the cores asks for. What bounds
them together, for a hash may take a core and 64 MiB, are locks on files of the state directory, which the kernel frees when a
process dies. A slot that nobody gives back (its worker stands still) is not waited for without end.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STEP = 0.01  # seconds between two looks, in a hash thread
LOOKS = 500  # five seconds of them


class HashSlots:
    """`count` of them, the same for all who name this `folder` and `name`; 0 for no bound. `sleep` takes seconds."""

    def __init__(self, folder: Path, name: str, count: int, sleep: Callable[[float], object]) -> None:
        self._paths = [folder / f"{name}-{number}" for number in range(1, count + 1)]
        self._sleep = sleep

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a slot meanwhile; waits for it, so it is for a hash thread. Where files cannot be locked there are no slots."""
        taken = self._wait() if self._paths else None
        try:
            yield
        finally:
            if taken is not None:
                os.close(taken)

    def _wait(self) -> int | None:
        with suppress(OSError):
            for _ in range(LOOKS):
                if (taken := self._free()) is not None:
                    return taken
                self._sleep(STEP)
        return None

    def _free(self) -> int | None:
        """The descriptor that has the lock of one that is free. Raises OSError."""
        for path in self._paths:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            else:
                return descriptor
        return None
