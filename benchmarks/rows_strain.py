"""Rows D, E and J: guessers, silent sessions, and passwords that are not known yet."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.bench import Bench
from benchmarks.failure import BenchmarkFailed
from benchmarks.figures import Line, Target
from benchmarks.gateway import Gateway
from benchmarks.load import Shape, Waits
from benchmarks.measure import Pair, interleaved, learn, of_both, run, sign_in
from benchmarks.people import FEW, seconds_of_a_hash
from benchmarks.processes import memory
from benchmarks.side import Side

_GUESSERS = Shape(connections=30, accounts=FEW, stride=1, limit=3600.0)
_WARM_UP = 3.0  # seconds of guessing before anything is measured
_MANY = 1_000_000  # more messages than a background load gets rid of
_BULK = Shape(messages=_MANY, a_session=100, accounts=10, limit=600.0)
_SILENT, _SILENT_PEER = 10_000, 500
_NEW, _FEW_NEW = 50, 16  # sign-ins at a time, each with an account of its own


@dataclass(frozen=True, slots=True)
class Flooded:
    """The waits of known sign-ins, how many percent of those and of row A's were turned away, and sessions a second without
    guessers and with them."""

    auth: Waits
    turned_away: float
    quiet: float
    flooded: float


def flood(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    learn(scene, scene.ours)
    mine, theirs = interleaved(
        bench.pick(1, 3),
        partial(_flooded, bench, scene.ours, bench.pick(200, 600), bench.pick(600, 1500)),
        partial(_flooded, bench, scene.peer, bench.pick(4, 8), bench.pick(20, 40)),
    )
    ran: Pair[Flooded] = mine, theirs
    bound = Target("ours", 50, at_most=True)
    what = "known sign-ins while 30 guess"
    yield Line("D", f"{what}: half of them", "ms", *of_both(lambda one: one.auth.p50, ran), less_is_better=True)
    yield Line("D", f"{what}: 99 %", "ms", *of_both(lambda one: one.auth.p99, ran), less_is_better=True, target=bound)
    yield Line("D", f"{what}: the longest", "ms", *of_both(lambda one: one.auth.max, ran), less_is_better=True)
    yield Line("D", f"{what}: turned away", "%", *of_both(lambda one: one.turned_away, ran), less_is_better=True)
    yield Line("D", "row A while 30 guess", "sessions/s", *of_both(lambda one: one.flooded, ran))
    parts = of_both(lambda one: one.flooded / one.quiet, ran)
    yield Line("D", "the same, of its rate without them", "", *parts, target=Target("ours", 0.6))


def _flooded(bench: Bench, side: Side, known: int, messages: int) -> Flooded:
    """`known` sign-ins while others guess, and `messages` sent in a session each, without guessers and with them."""
    scene, sending = bench.scene, Shape(messages=messages)
    quiet = run(scene, side, sending)
    with scene.generator.start(side.port, "-g", shape=_GUESSERS):
        time.sleep(_WARM_UP)
        told = sign_in(scene, side, Shape(connections=2, messages=known, a_session=0, rest=0.02), turned_away=True)
        flooded = run(scene, side, sending, turned_away=True)
    turned_away = (told.auth_failed + flooded.report.auth_failed) / (known + messages) * 100
    return Flooded(told.auth, turned_away, quiet.accepted_a_second(), flooded.accepted_a_second())


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
        return each, sign_in(scene, side, probe).auth


@dataclass(frozen=True, slots=True)
class First:
    """First sign-ins a second, and as a part of what the cores could hash."""

    rate: float
    part: float


def first_sign_ins(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    with scene.gateway() as ours:
        learn(scene, ours, accounts=_BULK.accounts)
        strangers = iter(range(1, 20))  # those who send meanwhile are every 20th, from 0 on
        for what, measure, bound in (("alone", _first, 0.8), ("during row B", _first_under_load, 0.5)):
            ran = interleaved(
                bench.pick(1, 3),
                lambda measure=measure: measure(bench, ours, next(strangers)),  # type: ignore[misc]
                lambda measure=measure: measure(bench, scene.peer, 1),  # type: ignore[misc]
            )
            pair = ran[0], ran[1]
            yield Line("J", f"first sign-ins, {what}", "sign-ins/s", *of_both(lambda one: one.rate, pair))
            parts = of_both(lambda one: one.part, pair)
            yield Line("J", f"{what}, of cores / time of one hash", "", *parts, target=Target("ours", bound))


def _first(bench: Bench, side: Side, first: int) -> First:
    limit = (os.cpu_count() or 1) / seconds_of_a_hash()
    return _beside(bench, side, first, limit)


def _first_under_load(bench: Bench, side: Side, first: int) -> First:
    scene = bench.scene
    before, limit = scene.sink.count, (os.cpu_count() or 1) / seconds_of_a_hash()
    with scene.generator.start(side.port, shape=_BULK) as load:
        time.sleep(_WARM_UP)
        found = _beside(bench, side, first, limit)
    scene.sink.until_quiet(None, 2.0)
    if load.report is None or scene.sink.count - before < load.report.accepted:
        raise BenchmarkFailed(f"{side.name}: mail was lost while people signed in: {load.report}")
    return found


def _beside(bench: Bench, side: Side, first: int, limit: float) -> First:
    """A sign-in that is told to try later (454) is none; the others count."""
    new = bench.pick(_FEW_NEW, _NEW)
    shape = Shape(connections=6, messages=new, a_session=0, accounts=new, first=first, in_order=True)
    before = side.hashes if isinstance(side, Gateway) else 0
    told = bench.scene.generator.run(side.port, shape)
    if not told.auths or told.failed or (isinstance(side, Gateway) and side.hashes - before < told.auths):
        raise BenchmarkFailed(f"{side.name}: these were no first sign-ins: {told}")
    rate = told.auths / told.seconds
    return First(rate, rate / limit)
