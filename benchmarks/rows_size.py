"""Rows F, G and I: a large login table, a long queue, and PostgreSQL below it all."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import Line, Target
from benchmarks.load import Shape
from benchmarks.measure import Run, interleaved, learn, of_both, run
from benchmarks.people import FEW, MANY
from benchmarks.postgresql import Postgresql

_WAITING = 1_000_000
_ACCOUNTS = 50
_ALMOST = Target("ours", 0.8)

# As the gateway itself writes mail that it will try again in an hour.
_MESSAGES = """
WITH RECURSIVE k(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM k WHERE n < ?)
INSERT INTO message (id, account_id, sender, eight_bit, smtputf8, ret, envid, accepted, body_size, header, body)
SELECT printf('%016d', n), '1', 'user0@example.com', 0, 0, '', '', unixepoch(), 1000, zeroblob(500), zeroblob(1000) FROM k
"""
_RECIPIENTS = """
INSERT INTO recipient (message_id, position, address, domain, field, state, attempts, next_attempt, notify, orcpt,
                       delay_warned, code, enhanced, text, hop)
SELECT id, 0, 'bob@example.net', 'example.net', 'to', 'queued', 1, unixepoch() + 3600, '', '', 0, 451, '', '', '' FROM message
"""


def large_table(bench: Bench) -> Iterator[Line]:
    scene, many, stride = bench.scene, bench.scene.accounts(MANY), MANY // _ACCOUNTS
    ours, peer = bench.pick((800, 40), (2000, 60))
    with scene.gateway(many) as big, scene.postfix(many) as big_peer:
        learn(scene, scene.ours)
        learn(scene, big, stride=stride)
        small_runs, big_runs, small_peers, big_peers = interleaved(
            bench.pick(1, 3),
            lambda: run(scene, scene.ours, Shape(messages=ours)),
            lambda: run(scene, big, Shape(messages=ours, stride=stride)),
            lambda: run(scene, scene.peer, Shape(messages=peer)),
            lambda: run(scene, big_peer, Shape(messages=peer, stride=stride)),
        )
    rates = of_both(Run.accepted_a_second, (big_runs, big_peers))
    small = of_both(Run.accepted_a_second, (small_runs, small_peers))
    yield Line("F", f"row A with {MANY:,} accounts", "sessions/s", *rates)
    yield Line(
        "F", f"the same, of the rate with {FEW:,}", "", parts(rates[0], small[0]), parts(rates[1], small[1]), target=_ALMOST
    )


def parts(rates: list[float], usual: list[float]) -> list[float]:
    """Round by round."""
    return [rate / before for rate, before in zip(rates, usual, strict=True)]


def backlog(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    full = scene.gateway()
    fill(full.at.state / "gateway.db")
    shape = Shape(messages=bench.pick(2000, 4000), a_session=100)
    with full:
        learn(scene, scene.ours)
        learn(scene, full)
        empty_runs, full_runs = interleaved(
            bench.pick(1, 3), lambda: run(scene, scene.ours, shape), lambda: run(scene, full, shape)
        )
    rates, empty = of_both(Run.delivered_a_second, (full_runs, empty_runs))
    yield Line("G", f"row B with {_WAITING:,} recipients waiting", "messages/s", rates)
    yield Line("G", "the same, of the rate with none", "", parts(rates, empty), target=_ALMOST)


def fill(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(_MESSAGES, [_WAITING])
        connection.execute(_RECIPIENTS)


def on_postgresql(bench: Bench) -> Iterator[Line]:
    scene = bench.scene
    single, bulk = Shape(messages=bench.pick(600, 2000)), Shape(messages=bench.pick(1500, 4000), a_session=100)
    with Postgresql() as server:
        gateway = scene.gateway(settings=server.settings(FEW))
        gateway.migrate()
        with gateway:
            learn(scene, gateway)
            singles, bulks = interleaved(
                bench.pick(1, 3), lambda: run(scene, gateway, single), lambda: run(scene, gateway, bulk)
            )
    yield Line("I", "row A on PostgreSQL", "sessions/s", [one.accepted_a_second() for one in singles])
    yield Line("I", "row B on PostgreSQL, until delivered", "messages/s", [one.delivered_a_second() for one in bulks])
