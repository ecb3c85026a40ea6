"""The next hop of both sides: Postfix's smtp-sink, which takes everything and counts it."""

import re
import subprocess
import time
from pathlib import Path
from typing import Self

from benchmarks.failure import BenchmarkFailed
from benchmarks.programs import program
from tests.acceptance.free_port import free_port

_COUNT = re.compile(rb"mesg=(\d+)\r")
_LOOK_EVERY = 0.01
_BACKLOG = 1000


class Sink:
    """`count`: messages that it has taken since its start, as it says itself."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._told = folder / "sink.txt"

    def __enter__(self) -> Self:
        command = [program("smtp-sink"), "-u", "nobody", "-c", f"127.0.0.1:{self.port}", str(_BACKLOG)]
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def count(self) -> int:
        with self._told.open("rb") as told:
            told.seek(max(0, self._told.stat().st_size - 200))
            counts = _COUNT.findall(told.read())
        return int(counts[-1]) if counts else 0

    def until_quiet(self, expected: int | None, patience: float) -> float:
        """When the last message came (time.perf_counter). It was the one that made the count `expected`; with None it is
        any after which none came for `patience` seconds. Raises BenchmarkFailed when fewer or more came."""
        count, since = self.count, time.perf_counter()
        while count != expected and time.perf_counter() - since < patience:
            time.sleep(_LOOK_EVERY)
            if (now := self.count) != count:
                count, since = now, time.perf_counter()
        if expected is not None and count != expected:
            raise BenchmarkFailed(f"the next hop has {count} messages, not {expected}: some were lost, or came twice")
        return since
