"""What a program uses, with all the processes it has started: processor time and memory, from /proc."""

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_EVERY = 0.25  # seconds: reading the memory of a process walks its page tables


def _stat(pid: int) -> list[str]:
    """The fields from the state on (proc(5)); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all below them."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (stat := _stat(int(path.name))):
            below.setdefault(int(stat[1]), []).append(int(path.name))
    found = list(roots)
    for pid in found:
        found += below.get(pid, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor time so far, user and system, of those that have ended and were waited for as well."""
    return sum(sum(map(int, stat[11:15])) for pid in tree(roots) if (stat := _stat(pid))) / _TICKS


def memory(roots: Iterable[int]) -> int:
    """Octets in use: what processes share is divided among them (the kernel's PSS)."""
    return sum(map(_pss, tree(roots)))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class MemoryWatch:
    """Looks at the memory of a program time and again; `peak` is the most it has seen, in octets. Without roots it rests."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak = 0

    def __enter__(self) -> Self:
        if self._roots:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._roots:
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            self.peak = max(self.peak, memory(self._roots))
