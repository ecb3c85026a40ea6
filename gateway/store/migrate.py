"""Brings a store to the present schema, and tells whether it is there.

Alembic takes 0.6 s to import, so only the command that migrates does it; a server compares one row with a constant.
"""

import os
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gateway.errors import ConfigError, Damaged, StorageFull, Unavailable
from gateway.store.engine import new_store_engine, opened, parse_url
from gateway.store.failures import translated
from gateway.store.schema import HEAD

SHM_OCTETS = 32768  # of a -shm file when it is made


def migrate(url: str) -> None:
    """Bring the store to HEAD, making it when there is none. Raises Unavailable, ConfigError."""
    from alembic import command
    from alembic.config import Config

    _make_private(url)
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    engine = new_store_engine(url)
    try:
        with translated(), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def version(connection: Connection) -> str:
    """The schema's version; "" for a database that never was a store."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def check_schema(url: str) -> None:
    """Raises ConfigError when the store is not at HEAD or cannot be opened."""
    try:
        with opened(url, write=False) as connection:
            found = version(connection)
    except Unavailable as error:
        raise ConfigError([f"store.url: cannot open the store ({error}); {_cure(url, error)}"]) from None
    if found != HEAD:
        raise ConfigError(
            [f"store.url: the store is at {found or 'nothing'}, this version needs {HEAD}; run `smtp-gateway store migrate`"]
        )


def _cure(url: str, error: Unavailable) -> str:
    if isinstance(error, StorageFull):
        return "make room on its disk"
    if isinstance(error, Damaged):
        return "keep a copy of it and its -wal file, and restore a backup, or save what is left by `sqlite3 FILE .recover`"
    path = _file(url)
    if path is None:
        return "check the URL, and that the server runs"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "run `smtp-gateway store migrate` to make it"
    except PermissionError:
        pass
    else:
        if _is_disk_full(path):
            return "its disk is full: make room on it"
    return f"this user (id {os.geteuid()}) may not read and write it: be the user of the gateway, or give the file to this one"


def _is_disk_full(path: Path) -> bool:
    """SQLite calls it an I/O error when there is no room for the -shm file, which it needs even to read."""
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize < SHM_OCTETS


def _file(url: str) -> Path | None:
    parsed = parse_url(url, "store.url")
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _make_private(url: str) -> None:
    """An SQLite store is made for its owner alone: it holds mail, and -wal and -shm take its mode over."""
    path = _file(url)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError([f"store.url: cannot make {path}: {error.strerror}"]) from None
