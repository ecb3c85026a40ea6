"""The figures of a benchmark: medians of rounds on both sides, how they compare, and what was to be reached."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached: a bound for the ratio of both sides, or for our own figure."""

    of: Literal["ratio", "ours"]
    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {self.bound:g}{' x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `ours` and `peer` have a figure a round; empty: not measured."""

    row: str
    what: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    less_is_better: bool = False
    target: Target | None = None

    @property
    def our_median(self) -> float | None:
        return median(self.ours) if self.ours else None

    @property
    def peer_median(self) -> float | None:
        return median(self.peer) if self.peer else None

    @property
    def ratio(self) -> float | None:
        """How many times better we are: below 1 the peer is. None when there is nothing to compare."""
        ours, peer = self.our_median, self.peer_median
        if ours is None or peer is None:
            return None
        better, worse = (peer, ours) if self.less_is_better else (ours, peer)
        return better / worse if worse > 0 else None

    @property
    def met(self) -> bool | None:
        """None when nothing was to be reached, or nothing was measured."""
        if self.target is None:
            return None
        value = self.ratio if self.target.of == "ratio" else self.our_median
        return None if value is None else self.target.met(value)


def as_json(lines: Sequence[Line], about: Mapping[str, Any]) -> dict[str, Any]:
    """All of a run, with the figures of each round. `about`: the machine, the versions, the settings."""
    medians = ("our_median", "peer_median", "ratio", "met")
    return {"about": dict(about), "lines": [asdict(line) | {name: getattr(line, name) for name in medians} for line in lines]}
