"""Rows A, B, C and H: sending, as people and programs do it all day."""

from collections.abc import Iterator, Sequence

from benchmarks.bench import Bench
from benchmarks.figures import Line, Target
from benchmarks.load import Shape
from benchmarks.measure import Run, interleaved, learn, run

_LARGE = 25_000_000


def both(bench: Bench, ours: Shape, peer: Shape, rounds: int, *, memory: bool = False) -> tuple[Sequence[Run], Sequence[Run]]:
    """The runs of each side. Rates are compared, so the slower side may be given less to do."""
    scene = bench.scene
    learn(scene, scene.ours)
    ran = interleaved(
        rounds,
        lambda: run(scene, scene.ours, ours, memory=memory),
        lambda: run(scene, scene.peer, peer, memory=memory),
    )
    return ran[0], ran[1]


def accepted_a_second(runs: Sequence[Run]) -> list[float]:
    return [each.report.accepted / each.accepted for each in runs]


def delivered_a_second(runs: Sequence[Run]) -> list[float]:
    return [each.report.accepted / each.delivered for each in runs]


def cpu_each(runs: Sequence[Run]) -> list[float]:
    """Processor time for one message, delivery included, in ms."""
    return [each.cpu / each.report.accepted * 1000 for each in runs]


def sign_in_and_send(bench: Bench) -> Iterator[Line]:
    few, many = bench.pick((40, 800), (80, 2000))
    ours, peer = both(bench, Shape(messages=many), Shape(messages=few), bench.pick(2, 5))
    yield Line("A", "sign in, send one message", "sessions/s", *map(accepted_a_second, (ours, peer)), target=Target("ratio", 50))
    yield Line("A", "processor time of it", "ms/session", *map(cpu_each, (ours, peer)), less_is_better=True)
    again = Shape(messages=many, resume=True), Shape(messages=few, resume=True)
    ours, peer = both(bench, *again, bench.pick(1, 3))
    yield Line("A", "the same, TLS session resumed", "sessions/s", *map(accepted_a_second, (ours, peer)))


def bulk(bench: Bench) -> Iterator[Line]:
    shape = Shape(messages=bench.pick(2000, 4000), a_session=100)
    ours, peer = both(bench, shape, shape, bench.pick(2, 5))
    target = Target("ratio", 3)
    yield Line("B", "100 messages a session, accepted", "messages/s", *map(accepted_a_second, (ours, peer)), target=target)
    yield Line("B", "the same, until delivered", "messages/s", *map(delivered_a_second, (ours, peer)), target=target)
    yield Line("B", "processor time of it", "ms/message", *map(cpu_each, (ours, peer)), less_is_better=True)


def large(bench: Bench) -> Iterator[Line]:
    shape = Shape(connections=10, messages=bench.pick(20, 40), size=_LARGE)
    ours, peer = both(bench, shape, shape, bench.pick(1, 3), memory=True)
    rates = [[each.report.octets / each.accepted / 1e6 for each in runs] for runs in (ours, peer)]
    yield Line("C", "messages of 25 MB, accepted", "MB/s", *rates, target=Target("ratio", 1.5))
    rates = [[each.report.octets / each.delivered / 1e6 for each in runs] for runs in (ours, peer)]
    yield Line("C", "the same, until delivered", "MB/s", *rates)
    peaks = [[each.peak / 1e6 for each in runs] for runs in (ours, peer)]
    yield Line("C", "memory meanwhile, at most", "MB", *peaks, less_is_better=True, target=Target("ours", 200, at_most=True))


def many_recipients(bench: Bench) -> Iterator[Line]:
    for what, blind in (("100 recipients, all in To", False), ("100 recipients, all blind", True)):
        shape = Shape(messages=100, a_session=10, recipients=100, blind=blind)
        ours, peer = both(bench, shape, shape, bench.pick(1, 3))
        rates = [[each.report.accepted * 100 / each.delivered for each in runs] for runs in (ours, peer)]
        yield Line("H", f"{what}, until delivered", "recipients/s", *rates)
        rates = [[each.report.accepted / each.accepted for each in runs] for runs in (ours, peer)]
        yield Line("H", f"{what}, accepted", "messages/s", *rates)
