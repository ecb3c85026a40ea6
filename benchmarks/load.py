"""The load generator: compiling smtpload.c, running it with a shape of load, reading what it reports."""

import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.failure import BenchmarkFailed
from benchmarks.people import PASSWORD, USER
from benchmarks.programs import program

_SOURCE = Path(__file__).with_name("smtpload.c")
_PATIENCE = 30.0  # seconds past a load's own limit


@dataclass(frozen=True, slots=True)
class Waits:
    """Of many: how many, and what half, 99 % and all of them did not exceed, in ms."""

    n: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of smtpload says. `auth`: from the AUTH command to its reply; `octets`: of the accepted bodies."""

    seconds: float
    accepted: int
    rejected: int
    sessions: int
    resumed: int
    failed: int
    auths: int
    auth_failed: int
    guesses: int
    octets: int
    message: Waits
    auth: Waits
    session: Waits
    codes: Mapping[str, int]


def parse(text: str) -> Report:
    """Raises BenchmarkFailed when it is no report."""
    try:
        told: dict[str, Any] = json.loads(text)
        message, auth, session = (_waits(told.pop(f"{name}_ms")) for name in ("message", "auth", "session"))
        return Report(**told, message=message, auth=auth, session=session)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BenchmarkFailed(f"smtpload gave no report ({problem!r}): {text[-500:]!r}") from problem


def _waits(told: Mapping[str, Any]) -> Waits:
    return Waits(told["n"], told["p50"], told["p99"], told["max"])


@dataclass(frozen=True, slots=True)
class Shape:
    """A load. `messages` is in all; with none `a_session` it is the number of sign-ins. Accounts: the `first`, and each
    `stride`-th after it, chosen by chance or `in_order`. `rest` is between two sessions of a connection, `limit` ends it,
    both in seconds."""

    connections: int = 20
    messages: int = 20
    a_session: int = 1
    size: int = 4096
    recipients: int = 1
    blind: bool = False
    resume: bool = False
    accounts: int = 50
    first: int = 0
    stride: int = 20
    in_order: bool = False
    rest: float = 0.0
    limit: float = 300.0

    def words(self) -> list[str]:
        given = {
            "-c": self.connections,
            "-m": self.messages,
            "-n": self.a_session,
            "-s": self.size,
            "-r": self.recipients,
            "-a": self.accounts,
            "-f": self.first,
            "-z": self.stride,
            "-e": self.rest,
            "-T": self.limit,
        }
        flags = {"-B": self.blind, "-R": self.resume, "-o": self.in_order}
        return [str(word) for pair in given.items() for word in pair] + [flag for flag, on in flags.items() if on]


class Generator:
    """smtpload, compiled into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._program = str(folder / "smtpload")
        command = [program("cc"), "-O2", "-o", self._program, str(_SOURCE), "-lssl", "-lcrypto"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkFailed(f"smtpload does not compile; is libssl-dev installed?\n{done.stderr}")

    def run(self, port: int, shape: Shape) -> Report:
        """To its end. The report may tell of refusals: `sound` is for those."""
        words = [*self._words(port), *shape.words()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=shape.limit + _PATIENCE, check=False)
        return parse(done.stdout)

    def start(self, port: int, *flags: str, shape: Shape | None = None) -> "Background":
        """Load that goes on until it is told to stop. `flags`: -g to guess, -i to be silent."""
        shape = shape or Shape(limit=3600.0)
        return Background([*self._words(port), *shape.words(), *flags])

    def _words(self, port: int) -> list[str]:
        return [self._program, "-p", str(port), "-t", "starttls", "-u", USER, "-w", PASSWORD]


class Background:
    """A load beside what is measured; `report` is there once it has ended."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.report: Report | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        still_there = self._process.poll() is None
        self._process.send_signal(signal.SIGTERM)
        told, _ = self._process.communicate(timeout=_PATIENCE)
        if kind is None:
            self.report = parse(told)
            if not still_there:
                raise BenchmarkFailed(f"the load in the background ended before it was told to: {self.report}")

    def until_open(self) -> None:
        """Wait until all of its idle connections stand."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "open\n":
            raise BenchmarkFailed("the idle connections were not all opened")


def sound(report: Report, expected: int, *, turned_away: bool = False) -> Report:
    """The report, when `expected` messages (without any: sign-ins) were taken and nothing refused. Raises BenchmarkFailed.

    `turned_away`: sign-ins may be, and what they would have sent is not there then.
    """
    taken = (report.accepted or report.auths) + (report.auth_failed if turned_away else 0)
    if report.rejected or report.failed or (report.auth_failed and not turned_away) or taken != expected:
        raise BenchmarkFailed(f"of {expected} not all were taken: {report}")
    return report
