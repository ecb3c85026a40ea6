"""A log file that several processes append to, and that begins anew when it is large."""

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

LARGE = 1_000_000  # octets, as twistd's own log files


class LogFile:
    """Lines of each process stay whole: each is one write to a file opened for appending.

    Whoever finds the file large renames it to NAME.1, the one before to NAME.2 and so on; the others notice that the name
    means another file now, also when a program for that purpose has renamed it. Where it cannot be renamed (a folder of
    somebody else's) it grows; where nothing can be written (a full disk), lines are lost and nothing else happens. The
    constructor raises OSError.
    """

    def __init__(self, path: Path, large: int = LARGE) -> None:
        self._path = path
        self._large = large
        self._descriptor = _open(path)
        self._opened = os.fstat(self._descriptor)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._renew()
        with suppress(OSError):
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))

    def _renew(self) -> None:
        """Make `_descriptor` the file that has the name, and one that is not large."""
        size = self._size()
        if size is None:
            self._reopen()
            size = self._opened.st_size
        if size >= self._large:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                if self._size() is not None:
                    self._rename()
                self._reopen()
            finally:  # a closed file has lost its lock; one that could not be renamed must not keep the others waiting
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _size(self) -> int | None:
        """Of the file that has the name, in octets; None when that is not the one of `_descriptor`."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return None
        return there.st_size if os.path.samestat(there, self._opened) else None

    def _reopen(self) -> None:
        old, self._descriptor = self._descriptor, _open(self._path)
        os.close(old)
        self._opened = os.fstat(self._descriptor)

    def _rename(self) -> None:
        older = re.compile(re.escape(self._path.name) + r"\.([1-9][0-9]*)")
        numbers = [int(found[1]) for path in self._path.parent.iterdir() if (found := older.fullmatch(path.name))]
        for number in sorted(numbers, reverse=True):
            self._numbered(number).rename(self._numbered(number + 1))
        self._path.rename(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
