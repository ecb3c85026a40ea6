"""One run of a load against one side, with what it cost, and nothing lost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from benchmarks.failure import BenchmarkFailed
from benchmarks.gateway import Gateway
from benchmarks.load import Report, Shape, sound
from benchmarks.processes import MemoryWatch, cpu_seconds
from benchmarks.scene import Scene
from benchmarks.side import Side
from tests.acceptance.waiting import until

T = TypeVar("T")
Pair: TypeAlias = tuple[Sequence[T], Sequence[T]]  # of our side and of the peer, a round each
_STUCK = 30.0  # seconds without a message at the next hop
_QUIET = 2.0  # the same, when it is not known how many will come
_SETTLES = 0.4  # for outcomes to be written down


@dataclass(frozen=True, slots=True)
class Run:
    """`accepted` and `delivered`: seconds until the last message was; `cpu`: of the server, in seconds; `peak`: octets."""

    report: Report
    delivered: float
    cpu: float
    peak: int

    @property
    def accepted(self) -> float:
        return self.report.seconds

    def accepted_a_second(self) -> float:
        return self.report.accepted / self.accepted

    def delivered_a_second(self) -> float:
        return self.report.accepted / self.delivered


def run(scene: Scene, side: Side, shape: Shape, *, memory: bool = False, turned_away: bool = False) -> Run:
    """Send all of it, and wait until the next hop has it. Raises BenchmarkFailed when anything was refused or lost.

    `memory`: whether to look at it, which takes a few percent of a core from whoever is measured; `turned_away`: sign-ins
    may be, but what was accepted has to arrive.
    """
    before, told_before, cpu = scene.sink.count, side.delivered(), cpu_seconds(side.roots)
    began = time.perf_counter()
    watch = MemoryWatch(side.roots if memory else ())
    with watch:
        try:
            report = sound(scene.generator.run(side.port, shape), shape.messages, turned_away=turned_away)
            one_each = before + report.accepted if shape.recipients == 1 else None
            last = scene.sink.until_quiet(one_each, _STUCK if one_each is not None else _QUIET)
        except BenchmarkFailed as failed:
            raise BenchmarkFailed(f"{side.name}: {failed}\n{side.story()}") from failed
    time.sleep(_SETTLES)
    cpu = cpu_seconds(side.roots) - cpu
    expected = told_before + report.accepted * shape.recipients
    until(lambda: side.delivered() >= expected, f"{side.name} has delivered {expected} recipients")
    if side.delivered() != expected:
        raise BenchmarkFailed(f"{side.name} has delivered more than {expected} recipients")
    return Run(report, last - began, cpu, watch.peak)


def sign_in(scene: Scene, side: Side, shape: Shape, *, turned_away: bool = False) -> Report:
    """Sign in so many times and send nothing."""
    return sound(scene.generator.run(side.port, shape), shape.messages, turned_away=turned_away)


def learn(scene: Scene, gateway: Gateway, *, accounts: int = 50, stride: int = 20) -> None:
    """Have its workers know the passwords that loads with so many accounts and this stride use.

    Each worker has to see each; of fifty, and two workers, one that is not known yet is missed by so many sign-ins twice in a
    hundred times.
    """
    shape = Shape(connections=8, messages=8 * accounts, a_session=0, accounts=accounts, stride=stride)
    for _ in range(40):
        before = gateway.hashes
        scene.generator.run(gateway.port, shape)
        if gateway.hashes == before:
            return
    raise BenchmarkFailed("the gateway goes on hashing passwords that it should know")


def interleaved(rounds: int, *turns: Callable[[], T]) -> Sequence[Sequence[T]]:
    """Take turns, so many rounds, so that a mood of the machine meets all of them; the results of each turn."""
    results: list[list[T]] = [[] for _ in turns]
    for _ in range(rounds):
        for turn, found in zip(turns, results, strict=True):
            found.append(turn())
    return results


def of_both(value: Callable[[T], float], pair: Pair[T]) -> tuple[list[float], list[float]]:
    """A figure of each round, of both sides."""
    return [value(one) for one in pair[0]], [value(one) for one in pair[1]]
