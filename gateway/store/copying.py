"""Moves a store from SQLite to PostgreSQL, with the bodies of its spool, in one transaction.

Both have the same tables, so rows are carried over as they are, but for leases and processes: nobody works on either store
meanwhile. What PostgreSQL cannot hold, a NUL in a text, becomes U+FFFD.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import REGCLASS

from gateway.errors import ConfigError
from gateway.queue.spool import path_of
from gateway.store.chunks import CHUNK
from gateway.store.clock import now
from gateway.store.engine import opened
from gateway.store.lockfile import hold, is_held
from gateway.store.migrate import check_schema, migrate
from gateway.store.schema import body_chunk, message, metadata, process, recipient
from gateway.store.sharing import is_shared

_ROWS = 100  # carried at once: a message has up to 64 KiB of body and 256 KiB of header
_COPIED = [table for table in metadata.sorted_tables if table not in (process, body_chunk)]


class CopyRefused(Exception):
    """Nothing was copied; `str()` says why in one line."""


def copy_store(source_url: str, target_url: str, state_dir: Path, tell: Callable[[str, int], object]) -> None:
    """Copy the stopped SQLite store at `source_url` into the empty database at `target_url`, whose tables are made.

    `tell` hears of each table and how many rows it has. Raises CopyRefused, ConfigError, Unavailable.
    """
    if is_shared(source_url) or not is_shared(target_url):
        raise CopyRefused("store copy goes from SQLite, which [store] url names, to PostgreSQL")
    check_schema(source_url)
    migrate(target_url)
    lock = _locked(state_dir)
    try:
        # the target's commit is the last thing that can fail
        with opened(source_url, write=False) as source, opened(target_url, write=True) as target:
            _check_others_are_stopped(source, state_dir)
            _check_empty(target)
            for table in _COPIED:
                tell(table.name, _copy(source, target, table))
            tell(body_chunk.name, _copy_bodies(source, target, state_dir / "spool"))
    finally:
        os.close(lock)


def _locked(state_dir: Path) -> int:
    try:
        return hold(state_dir)
    except ConfigError as error:
        raise CopyRefused(error.problems[0]) from None


def _check_others_are_stopped(source: Connection, state_dir: Path) -> None:
    """Several gateways of one machine may share an SQLite store."""
    for name in source.execute(select(process.c.name)).scalars():
        if name != str(state_dir) and is_held(Path(name)):
            raise CopyRefused(f"a gateway with the state directory {name} uses the store; stop it first")


def _check_empty(target: Connection) -> None:
    target.execute(text("LOCK TABLE process IN EXCLUSIVE MODE"))  # no gateway starts on it until we are done
    for table in metadata.sorted_tables:
        if target.execute(select(table).limit(1)).first() is not None:
            raise CopyRefused(f"the target is not empty: its table {table.name} has rows; give it an empty database")


def _copy(source: Connection, target: Connection, table: Table) -> int:
    """How many rows were copied."""
    rows = iter(source.execution_options(yield_per=_ROWS).execute(select(table)).mappings())
    count = 0
    while batch := [_carried(table, row) for row in islice(rows, _ROWS)]:
        target.execute(insert(table), batch)
        count += len(batch)
    if "id" in table.c and table.c.id.type.python_type is int:  # numbers that are given out go on from there
        following = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
        sequence = cast(func.pg_get_serial_sequence(table.name, "id"), REGCLASS)
        target.execute(select(func.setval(sequence, following, False)))
    return count


def _carried(table: Table, row: Any) -> dict[str, Any]:
    values = {name: value.replace("\0", "\ufffd") if isinstance(value, str) else value for name, value in row.items()}
    return {**values, "process": None} if table is recipient else values


def _copy_bodies(source: Connection, target: Connection, spool: Path) -> int:
    """How many chunks the large bodies have become."""
    query = select(message.c.id, message.c.body_file, message.c.body_size).where(message.c.body_file.is_not(None))
    return sum(_copy_body(target, path_of(spool, name), name, id_, size) for id_, name, size in source.execute(query))


def _copy_body(target: Connection, path: Path, name: str, id_: str, size: int) -> int:
    written = chunks = 0
    for position, data in enumerate(_blocks(path, id_)):
        target.execute(insert(body_chunk).values(name=name, position=position, at=now(), data=data))
        written += len(data)
        chunks += 1
    if written != size:
        raise CopyRefused(f"the body of message {id_} is not whole: {path} has {written} octets, not {size}")
    return chunks


def _blocks(path: Path, id_: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield data
    except OSError as error:
        raise CopyRefused(
            f"the body of message {id_} cannot be read: {path}: {error.strerror}; `smtp-gateway queue delete {id_}` gives it up"
        ) from None
