"""Rows A, B, C and H: sending, as people and programs do it all day."""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Line, Target
from benchmarks.load import Shape
from benchmarks.measure import Pair, Run, interleaved, learn, of_both, run

_LARGE = 25_000_000
_HUNDRED = 100


def both(bench: Bench, ours: Shape, peer: Shape, rounds: int) -> Pair[Run]:
    """The runs of each side. Rates are compared, so the slower side may be given less to do."""
    scene = bench.scene
    learn(scene, scene.ours)
    mine, theirs = interleaved(
        rounds,
        lambda: run(scene, scene.ours, ours),
        lambda: run(scene, scene.peer, peer),
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
    """By one process, and by as many workers as elsewhere, which take more memory to be faster."""
    scene, shape = bench.scene, Shape(connections=10, messages=bench.pick(20, 40), size=_LARGE, accounts=10)
    with scene.gateway(settings={"server": {"workers": 1}}) as alone:
        for ours in (alone, scene.ours):
            learn(scene, ours, accounts=shape.accounts)
        lone, all_workers, peer = interleaved(
            bench.pick(1, 3),
            lambda: run(scene, alone, shape, memory=True),
            lambda: run(scene, scene.ours, shape, memory=True),
            lambda: run(scene, scene.peer, shape, memory=True),
        )
    bound = Target("ours", 200, at_most=True)
    yield Line("C", "25 MB, one process, accepted", "MB/s", *of_both(_accepted, (lone, peer)), target=Target("ratio", 1.5))
    yield Line("C", "the same, until delivered", "MB/s", *of_both(_delivered, (lone, peer)))
    yield Line("C", "memory meanwhile, at most", "MB", *of_both(_peak, (lone, peer)), less_is_better=True, target=bound)
    yield Line("C", f"{scene.workers} workers, accepted", "MB/s", *of_both(_accepted, (all_workers, peer)))
    yield Line("C", "the same, until delivered", "MB/s", *of_both(_delivered, (all_workers, peer)))
    yield Line("C", "memory meanwhile, at most", "MB", *of_both(_peak, (all_workers, peer)), less_is_better=True)


def _accepted(one: Run) -> float:
    return one.report.octets / one.accepted / 1e6


def _delivered(one: Run) -> float:
    return one.report.octets / one.delivered / 1e6


def _peak(one: Run) -> float:
    return one.peak / 1e6


def many_recipients(bench: Bench) -> Iterator[Line]:
    for what, blind in (("all in To", False), ("all blind", True)):
        shape = Shape(messages=100, a_session=10, recipients=_HUNDRED, blind=blind)
        runs = both(bench, shape, shape, bench.pick(1, 3))
        recipients = of_both(lambda one: one.delivered_a_second() * _HUNDRED, runs)
        yield Line("H", f"100 recipients, {what}, accepted", "messages/s", *of_both(Run.accepted_a_second, runs))
        yield Line("H", f"100 recipients, {what}, until delivered", "recipients/s", *recipients)
