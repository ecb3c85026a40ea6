"""A store moves from SQLite to PostgreSQL whole, or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, insert, select, text

from gateway.accounts.lockout import Attempt
from gateway.config import Lockout
from gateway.metrics import Metrics
from gateway.queue.model import Envelope, Field, Inline, NewMessage, NewRecipient, Outcome, Record, Result, Spooled, State
from gateway.queue.spool import path_of
from gateway.store.chunks import Chunks
from gateway.store.copying import CopyRefused, copy_store
from gateway.store.engine import opened
from gateway.store.lockfile import hold
from gateway.store.lockouts import SqlLockoutBook
from gateway.store.migrate import check_schema
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import body_chunk, credential, domain, metadata, process, recipient, usage_day
from tests.pump import Pump
from tests.queued import queued
from tests.servers.databases import Postgresql
from tests.stores import running, store_url

LARGE = bytes(n % 251 for n in range(600_000))
TO = NewRecipient("you@example.net", Field.TO)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def source(tmp_path: Path, state_dir: Path) -> str:
    """Something in nearly every table: delivered, under way when the gateway stopped, waiting with a large body."""
    url, pump = store_url(state_dir), Pump()
    with running(url, pump) as database:
        outbox = SqlOutbox(database, str(state_dir))
        pump.result(outbox.register())
        [done, *_] = queued(pump.result(outbox.add(new("0000000000000001", Inline(b"\x00\xffsmall")), lease=True))).recipients
        outcome = Outcome(done, Result.DELIVERED, 250, "2.0.0", "ok \0", "hop:25", "mx")
        pump.result(outbox.record([Record(outcome, State.DELIVERED)], []))
        pump.result(outbox.add(new("0000000000000002", Inline(b"under way")), lease=True))
        pump.result(outbox.add(new("0000000000000003", Spooled("0000000000000003", len(LARGE))), lease=False))
        book = SqlLockoutBook(database, Lockout(failures=1), Metrics(CollectorRegistry()), hash_wait=5.0)
        attempt = Attempt("a:7", "tag", "192.0.2.1/32", "192.0.2.0/24", 1)
        pump.result(book.fail(pump.result(book.charge(attempt))))
        pump.result(book.succeed(Attempt("a:8", "tag", "192.0.2.2/32", "192.0.2.0/24", 1), None))
        pump.result(database.write(_limits))
    path = path_of(state_dir / "spool", "0000000000000003")
    path.parent.mkdir(parents=True)
    path.write_bytes(LARGE)
    return url


def new(id_: str, body: Inline | Spooled) -> NewMessage:
    return NewMessage(id_, "7", Envelope("me@example.com"), b"A: \xc3\xa4\r\n\r\n", body, (TO,))


def _limits(connection: Connection) -> None:
    day = {"messages": 1, "to_recipients": 2, "cc_recipients": 0, "bcc_recipients": 0, "bytes": 1 << 40, "refusals": 0}
    connection.execute(insert(usage_day).values(account_id="7", day=20_000, **day))
    connection.execute(insert(domain).values(name="example.com", account_id="7", added=1.5))
    login = {"name": "a@example.com", "stored": "x", "changed": 1.5, "last_network": ""}
    connection.execute(insert(credential).values(domain="example.com", slot=1, **login))


@pytest.fixture
def target(postgresql: Postgresql) -> str:
    return postgresql.database().url


def content(url: str) -> dict[str, list[dict[str, Any]]]:
    with opened(url, write=False) as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in metadata.sorted_tables
        }


def copied(source: str, target: str, state_dir: Path) -> dict[str, int]:
    told: dict[str, int] = {}
    copy_store(source, target, state_dir, told.__setitem__)
    return told


def test_everything_is_carried_over(source: str, target: str, state_dir: Path) -> None:
    told = copied(source, target, state_dir)
    before, after = content(source), content(target)
    assert after.pop(process.name) == []
    assert [len(row["data"]) for row in after.pop(body_chunk.name)] == [262_144, 262_144, 75_712]
    assert before.pop(process.name) != []
    before.pop(body_chunk.name)
    for row in before["recipient"]:
        row |= {"process": None, "text": row["text"].replace("\0", "\ufffd")}
    for row in before["attempt"]:
        row["text"] = row["text"].replace("\0", "\ufffd")
    assert after == before
    assert all(
        before[name] for name in ("message", "recipient", "attempt", "lockout", "failure", "known_network", "credential")
    )
    assert told == {**{name: len(rows) for name, rows in before.items()}, "body_chunk": 3}


def test_the_queue_goes_on_there_with_numbers_of_its_own(source: str, target: str, state_dir: Path) -> None:
    copied(source, target, state_dir)
    pump = Pump()
    with running(target, pump) as database:
        outbox, chunks = SqlOutbox(database, "one", lambda name: True), Chunks(database)
        pump.result(outbox.register())
        added = queued(pump.result(outbox.add(new("0000000000000004", Inline(b"")), lease=True)))
        assert added.recipients[0].id == 4
        taken = pump.result(outbox.take(10))
        assert [message.id[-1] for message in taken] == ["2", "3"]
        assert taken[0].body == Inline(b"under way")
        reader, read = pump.result(chunks.open(taken[1].body)), b""
        while block := pump.result(reader.read()):
            read += block
        assert read == LARGE


def test_a_gateway_that_runs_is_not_copied(source: str, target: str, state_dir: Path, tmp_path: Path) -> None:
    lock = hold(state_dir)
    with pytest.raises(CopyRefused, match="another gateway uses"):
        copied(source, target, state_dir)
    os.close(lock)
    other = hold(tmp_path / "other")
    with opened(source, write=True) as connection:
        connection.execute(insert(process).values(name=str(tmp_path / "other"), started=0.0))
    with pytest.raises(CopyRefused, match="/other uses the store; stop it first"):
        copied(source, target, state_dir)
    os.close(other)
    copied(source, target, state_dir)


def test_a_target_that_is_not_empty_is_left_as_it_is(source: str, target: str, state_dir: Path) -> None:
    copied(source, target, state_dir)
    before = content(target)
    with pytest.raises(CopyRefused, match="not empty: its table"):
        copied(source, target, state_dir)
    assert content(target) == before


@pytest.mark.parametrize("trouble", ["missing", "shorter", "longer"])
def test_a_large_body_that_is_not_whole_stops_it_and_leaves_nothing(
    source: str, target: str, state_dir: Path, trouble: str
) -> None:
    path = path_of(state_dir / "spool", "0000000000000003")
    if trouble == "missing":
        path.unlink()
    else:
        path.write_bytes(LARGE[:-1] if trouble == "shorter" else LARGE + b"x")
    with pytest.raises(CopyRefused, match="the body of message 0000000000000003"):
        copied(source, target, state_dir)
    assert not any(content(target).values())


def test_only_from_sqlite_to_postgresql(source: str, target: str, state_dir: Path) -> None:
    for one, other in ((source, source), (target, target), (target, source)):
        with pytest.raises(CopyRefused, match="from SQLite"):
            copied(one, other, state_dir)


def test_the_tables_of_the_target_are_made(source: str, target: str, state_dir: Path) -> None:
    copied(source, target, state_dir)
    check_schema(target)
    with opened(target, write=False) as connection:
        assert connection.execute(text("SELECT count(*) FROM recipient WHERE process IS NOT NULL")).scalar() == 0
        assert connection.execute(select(recipient.c.id)).scalars().all() != []
