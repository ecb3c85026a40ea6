"""Rows D, E and J: guessers, silent sessions, and passwords that are not known yet."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.bench import Bench
from benchmarks.failure import BenchmarkFailed
from benchmarks.figures import Line, Target
from benchmarks.gateway import Gateway
from benchmarks.load import Shape, Waits
from benchmarks.measure import interleaved, learn, run, sign_in
from benchmarks.people import FEW, seconds_of_a_hash
from benchmarks.processes import memory
from benchmarks.side import Side

_GUESSERS = Shape(connections=30, accounts=FEW, stride=1, limit=3600.0)
_WARM_UP = 3.0  # seconds of guessing before anything is measured
_MANY = 1_000_000  # more messages than a background load gets rid of
_SILENT, _SILENT_PEER = 10_000, 500
_NEW = 50  # sign-ins at a time, each with an account of its own


@dataclass(frozen=True, slots=True)
class Flooded:
    """The waits of known sign-ins, and sessions a second without guessers and with them."""

    auth: Waits
    quiet: float
    flooded: float


def flood(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    learn(scene, scene.ours)
    turns = (
        partial(_flooded, bench, scene.ours, bench.pick(600, 1500)),
        partial(_flooded, bench, scene.peer, bench.pick(20, 40)),
    )
    ran = interleaved(bench.pick(1, 3), *turns)
    for what, which, target in (("half of them", "p50", None), ("99 %", "p99", 50), ("the longest", "max", None)):
        waits = [[getattr(each.auth, which) for each in side] for side in ran]
        bound = Target("ours", target, at_most=True) if target else None
        yield Line("D", f"known sign-ins while 30 guess: {what}", "ms", *waits, less_is_better=True, target=bound)
    yield Line("D", "row A while 30 guess", "sessions/s", *([each.flooded for each in side] for side in ran))
    parts = [[each.flooded / each.quiet for each in side] for side in ran]
    yield Line("D", "the same, of its rate without them", "", *parts, target=Target("ours", 0.6))


def _flooded(bench: Bench, side: Side, messages: int) -> Flooded:
    scene, sending = bench.scene, Shape(messages=messages)
    quiet = run(scene, side, sending)
    with scene.generator.start(side.port, "-g", shape=_GUESSERS):
        time.sleep(_WARM_UP)
        probe = Shape(connections=1, messages=_MANY, a_session=0, rest=0.02, limit=bench.pick(6.0, 20.0))
        told = scene.generator.run(side.port, probe)
        if told.auth_failed or told.failed or not told.auths:
            raise BenchmarkFailed(f"{side.name}: known people were turned away while others guess: {told}")
        flooded = run(scene, side, sending)
    return Flooded(told.auth, messages / quiet.accepted, messages / flooded.accepted)


def idle(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    with scene.gateway() as ours:
        learn(scene, ours)
        mine, waits = _silent(bench, ours, _SILENT)
    theirs, their_waits = _silent(bench, scene.peer, _SILENT_PEER)
    yield Line(
        "E",
        f"memory of a silent TLS session, {_SILENT:,} open (peer: {_SILENT_PEER})",
        "KB",
        [mine / 1000],
        [theirs / 1000],
        less_is_better=True,
        target=Target("ours", 80, at_most=True),
    )
    longest = [waits.max], [their_waits.max]
    what = "a sign-in meanwhile, the longest"
    yield Line("E", what, "ms", *longest, less_is_better=True, target=Target("ours", 100, at_most=True))


def _silent(bench: Bench, side: Side, sessions: int) -> tuple[float, Waits]:
    """Octets for each silent session, and the waits of sign-ins beside them."""
    scene = bench.scene
    probe = Shape(connections=1, messages=50, a_session=0, rest=0.02)
    sign_in(scene, side, probe)
    before = memory(side.roots)
    with scene.generator.start(side.port, "-i", shape=Shape(connections=sessions, limit=600.0)) as silent:
        silent.until_open()
        each = (memory(side.roots) - before) / sessions
        return each, sign_in(scene, side, probe).report.auth


@dataclass(frozen=True, slots=True)
class First:
    """First sign-ins a second, and as a part of what the cores could hash."""

    rate: float
    part: float


def first_sign_ins(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    with scene.gateway() as ours:
        learn(scene, ours)
        strangers = iter(range(1, 20))  # row A's people are every 20th, from 0 on
        for what, measure, bound in (("alone", _first, 0.8), ("during row B", _first_under_load, 0.5)):
            turns: Sequence[Callable[[], First]] = (
                lambda measure=measure: measure(bench, ours, next(strangers)),  # type: ignore[misc]
                lambda measure=measure: measure(bench, scene.peer, 1),  # type: ignore[misc]
            )
            ran = interleaved(bench.pick(1, 3), *turns)
            yield Line("J", f"first sign-ins, {what}", "sign-ins/s", *([each.rate for each in side] for side in ran))
            parts = [[each.part for each in side] for side in ran]
            yield Line("J", f"{what}, of cores / time of one hash", "", *parts, target=Target("ours", bound))


def _first(bench: Bench, side: Side, first: int) -> First:
    limit = (os.cpu_count() or 1) / seconds_of_a_hash()
    return _beside(bench, side, first, limit)


def _first_under_load(bench: Bench, side: Side, first: int) -> First:
    scene = bench.scene
    before, limit = scene.sink.count, (os.cpu_count() or 1) / seconds_of_a_hash()
    with scene.generator.start(side.port, shape=Shape(messages=_MANY, a_session=100, limit=600.0)) as load:
        time.sleep(_WARM_UP)
        found = _beside(bench, side, first, limit)
    scene.sink.until_quiet(None, 2.0)
    if load.report is None or scene.sink.count - before < load.report.accepted:
        raise BenchmarkFailed(f"{side.name}: mail was lost while people signed in: {load.report}")
    return found


def _beside(bench: Bench, side: Side, first: int, limit: float) -> First:
    shape = Shape(connections=8, messages=_NEW, a_session=0, accounts=_NEW, first=first, in_order=True)
    before = side.hashes if isinstance(side, Gateway) else 0
    rate = _NEW / sign_in(bench.scene, side, shape).accepted
    if isinstance(side, Gateway) and side.hashes - before < _NEW:
        raise BenchmarkFailed("some of the passwords were known already")
    return First(rate, rate / limit)
