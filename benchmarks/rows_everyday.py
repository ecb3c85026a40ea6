"""Rows A, B, C and H: sending, as people and programs do it all day."""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Line, Target
from benchmarks.load import Shape
from benchmarks.measure import Pair, Run, interleaved, learn, of_both, run

_LARGE = 25_000_000
_HUNDRED = 100


def both(bench: Bench, ours: Shape, peer: Shape, rounds: int, *, memory: bool = False) -> Pair[Run]:
    """The runs of each side. Rates are compared, so the slower side may be given less to do."""
    scene = bench.scene
    learn(scene, scene.ours)
    mine, theirs = interleaved(
        rounds,
        lambda: run(scene, scene.ours, ours, memory=memory),
        lambda: run(scene, scene.peer, peer, memory=memory),
    )
    return mine, theirs


def cpu_each(one: Run) -> float:
    """Processor time for one message, delivery included, in ms."""
    return one.cpu / one.report.accepted * 1000


def sign_in_and_send(bench: Bench) -> Iterator[Line]:
    few, many = bench.pick((40, 800), (80, 2000))
    runs = both(bench, Shape(messages=many), Shape(messages=few), bench.pick(2, 5))
    rates = of_both(Run.accepted_a_second, runs)
    yield Line("A", "sign in, send one message", "sessions/s", *rates, target=Target("ratio", 50))
    yield Line("A", "processor time of it", "ms/session", *of_both(cpu_each, runs), less_is_better=True)
    runs = both(bench, Shape(messages=many, resume=True), Shape(messages=few, resume=True), bench.pick(1, 3))
    yield Line("A", "the same, offering to resume TLS sessions", "sessions/s", *of_both(Run.accepted_a_second, runs))
    resumed = of_both(lambda one: one.report.resumed / one.report.sessions * 100, runs)
    yield Line("A", "TLS sessions resumed then", "%", *resumed)


def bulk(bench: Bench) -> Iterator[Line]:
    shape = Shape(messages=bench.pick(2000, 4000), a_session=100)
    runs = both(bench, shape, shape, bench.pick(2, 5))
    accepted, delivered = of_both(Run.accepted_a_second, runs), of_both(Run.delivered_a_second, runs)
    yield Line("B", "100 messages a session, accepted", "messages/s", *accepted, target=Target("ratio", 3))
    yield Line("B", "the same, until delivered", "messages/s", *delivered, target=Target("ratio", 3))
    yield Line("B", "processor time of it", "ms/message", *of_both(cpu_each, runs), less_is_better=True)


def large(bench: Bench) -> Iterator[Line]:
    shape = Shape(connections=10, messages=bench.pick(20, 40), size=_LARGE)
    runs = both(bench, shape, shape, bench.pick(1, 3), memory=True)
    accepted = of_both(lambda one: one.report.octets / one.accepted / 1e6, runs)
    delivered = of_both(lambda one: one.report.octets / one.delivered / 1e6, runs)
    peaks, bound = of_both(lambda one: one.peak / 1e6, runs), Target("ours", 200, at_most=True)
    yield Line("C", "messages of 25 MB, accepted", "MB/s", *accepted, target=Target("ratio", 1.5))
    yield Line("C", "the same, until delivered", "MB/s", *delivered)
    yield Line("C", "memory meanwhile, at most", "MB", *peaks, less_is_better=True, target=bound)


def many_recipients(bench: Bench) -> Iterator[Line]:
    for what, blind in (("all in To", False), ("all blind", True)):
        shape = Shape(messages=100, a_session=10, recipients=_HUNDRED, blind=blind)
        runs = both(bench, shape, shape, bench.pick(1, 3))
        recipients = of_both(lambda one: one.delivered_a_second() * _HUNDRED, runs)
        yield Line("H", f"100 recipients, {what}, accepted", "messages/s", *of_both(Run.accepted_a_second, runs))
        yield Line("H", f"100 recipients, {what}, until delivered", "recipients/s", *recipients)
