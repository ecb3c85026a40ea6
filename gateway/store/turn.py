"""Whose turn it is to write, among the workers of one gateway that share a SQLite file.

SQLite lets a writer who finds another at work sleep and try again, so that with several busy ones some wait for seconds
although the file is free most of the time. Here they stand in line, asleep until the kernel wakes them: a lock on each of
two files in the state directory. The one who is next holds the first while it waits for the second, so whoever has just written
and wants to write again cannot step in before it. The kernel releases the locks of a process that dies.

It only says who waits how. Other programs (the operators' command) take no turn and meet SQLite's own lock, which is what keeps
the file whole; so where the files cannot be made or locked, the writers go on without a turn. There is no limit to the wait:
a worker that stands still with the lock is ended by its parent.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Turn:
    """`with turn:` for the time of one transaction, in one thread."""

    def __init__(self, state_dir: Path) -> None:
        self._files = [state_dir / "writer-next", state_dir / "writer"]
        self._descriptors: list[int] = []

    def __enter__(self) -> None:
        with suppress(OSError):
            if not self._descriptors:
                self._open()
            following, ours = self._descriptors
            fcntl.flock(following, fcntl.LOCK_EX)
            fcntl.flock(ours, fcntl.LOCK_EX)
            fcntl.flock(following, fcntl.LOCK_UN)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for descriptor in self._descriptors:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _open(self) -> None:
        opened: list[int] = []
        try:
            for path in self._files:
                opened.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        self._descriptors = opened
