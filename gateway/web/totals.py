"""Figures of several processes as those of one: what each worker counts, added up for one /metrics.

Counters and histograms are sums, and what a worker had counted when it died stays in them, so that none goes backwards. Gauges
are of those who live, added up; figures of the queue are counted by one process, where the others have 0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from prometheus_client import Metric
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]
# As JSON carries it: [name, type, what it is, [[name of the sample, {label: value}, number], ...]], a list for each family
Figures = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]

# What two processes say of one gauge, when it is not the sum
_GAUGES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "smtp_gateway_tls_certificate_expiry_seconds": min,
    "smtp_gateway_build_info": max,
}


def figures(families: Collector) -> Figures:
    """All that `families` has now."""
    return [
        (family.name, family.type, family.documentation, [(s.name, s.labels, s.value) for s in family.samples])
        for family in families.collect()
    ]


@dataclass(frozen=True, slots=True)
class _Family:
    """A gauge and a counter may have one name, but for _total."""

    name: str
    type: str

    def together(self, values: Iterable[float]) -> float:
        return _GAUGES.get(self.name, sum)(values) if self.type == "gauge" else sum(values)


@dataclass(frozen=True, slots=True)
class _Sample:
    family: _Family
    name: str
    labels: Labels


_Values = dict[_Sample, float]


class Totals(Collector):
    """Adds what workers say to the families of this process, `ours`."""

    def __init__(self, ours: Collector) -> None:
        self._ours = ours
        self._texts: dict[_Family, str] = {}
        self._of_workers: dict[int, _Values] = {}
        self._of_the_dead: _Values = {}
        self._shown: _Values = {}  # what counts only upwards, as it was last told

    def heard(self, worker: int, said: Figures) -> None:
        """What a worker has counted in its life up to now, instead of what it said before. Raises ValueError, TypeError."""
        self._of_workers[worker] = dict(self._read(said))

    def died(self, worker: int) -> None:
        """Keep what it counted; what it measured is over. The number may be that of a new one from now on."""
        for sample, value in self._of_workers.pop(worker, {}).items():
            if sample.family.type != "gauge":
                self._of_the_dead[sample] = self._of_the_dead.get(sample, 0.0) + value

    def collect(self) -> Iterator[Metric]:
        """The families, ours first, in the order in which each was first heard of."""
        sources = [dict(self._read(figures(self._ours))), self._of_the_dead, *self._of_workers.values()]
        families = {family: Metric(family.name, text, family.type) for family, text in self._texts.items()}
        for sample in dict.fromkeys(chain.from_iterable(sources)):
            value = sample.family.together([values[sample] for values in sources if sample in values])
            families[sample.family].add_sample(sample.name, dict(sample.labels), self._not_less(sample, value))
        yield from families.values()

    def _not_less(self, sample: _Sample, value: float) -> float:
        """A sum of seconds may come out smaller by its last bit when it is added up in another order, after a death: to
        Prometheus that would be a restart, and all of it news."""
        if sample.family.type != "gauge":
            value = self._shown[sample] = max(value, self._shown.get(sample, value))
        return value

    def _read(self, said: Figures) -> Iterator[tuple[_Sample, float]]:
        for name, kind, text, samples in said:
            family = _Family(name, kind)
            self._texts.setdefault(family, text)
            for sample, labels, value in samples:
                yield _Sample(family, sample, tuple(labels.items())), float(value)
