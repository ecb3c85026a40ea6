"""What a store is to the queue: one machine's own (SQLite, a spool) or shared by many (PostgreSQL, bodies as rows)."""

import os
from collections.abc import Callable
from pathlib import Path

from gateway.queue.spool import Run, Spool
from gateway.store.chunks import Chunks
from gateway.store.database import Database
from gateway.store.engine import parse_url
from gateway.store.lockfile import is_held
from gateway.store.outbox import SqlOutbox
from gateway.store.secret import state_secret


def is_shared(url: str) -> bool:
    """Whether machines can share the store at `url`. Raises ConfigError."""
    return parse_url(url, "store.url").get_backend_name() != "sqlite"


def outbox_in(database: Database, url: str, state_dir: Path, random: Callable[[int], bytes], worker: int) -> SqlOutbox:
    """The queue in the store at `url`, worked on from `state_dir`, by this of its workers. Raises ConfigError."""
    if not is_shared(url):
        return SqlOutbox(database, str(state_dir), lambda other: is_held(Path(other)), worker)
    # On every machine the folder has the same path, and a folder may be copied to another machine: so both
    own = state_secret(state_dir, random, "node").hex()[:16]
    return SqlOutbox(database, f"{os.uname().nodename} {own}", lambda other: True, worker)  # its heartbeat tells, in time


def bodies_in(database: Database, url: str, state_dir: Path, run: Run) -> Spool | Chunks:
    """Where large bodies are kept. Raises ConfigError."""
    if is_shared(url):
        return Chunks(database)
    spool = Spool(state_dir / "spool", run)
    spool.prepare()
    return spool
