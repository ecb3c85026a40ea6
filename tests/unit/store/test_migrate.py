"""The migrated store against the tables the code is written for."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from gateway.errors import ConfigError
from gateway.store.engine import new_store_engine, opened
from gateway.store.migrate import check_schema, migrate, version
from gateway.store.schema import HEAD, metadata
from tests.servers.databases import Postgresql
from tests.stores import KINDS, postgresql_url, store_url, url_of


def _definitions(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"))
    return {name: re.sub(r"\s*([(),\s])\s*", r"\1", sql) for name, sql in rows if name != "alembic_version"}


def test_a_migrated_store_equals_a_fresh_one(tmp_path: Path) -> None:
    fresh = create_engine("sqlite://")
    with fresh.begin() as connection:
        metadata.create_all(connection)
        wanted = _definitions(connection)
    with opened(store_url(tmp_path), write=False) as connection:
        assert _definitions(connection) == wanted
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_migrated_store_equals_the_tables_on_postgresql(postgresql: Postgresql) -> None:
    fresh, migrated = postgresql.database().url, postgresql_url(postgresql)
    engine = new_store_engine(fresh)
    metadata.create_all(engine)
    engine.dispose()
    with opened(fresh, write=False) as one, opened(migrated, write=False) as other:
        assert compare_metadata(MigrationContext.configure(other), metadata) == []
        assert _columns(one) == _columns(other)
        assert _indexes(one) == _indexes(other)


def _columns(connection: Connection) -> list[tuple[str, ...]]:
    wanted = "table_name, column_name, data_type, is_nullable, column_default"
    query = f"SELECT {wanted} FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    return [tuple(row) for row in connection.execute(text(query)) if row[0] != "alembic_version"]


def _indexes(connection: Connection) -> list[str]:
    query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
    return list(connection.execute(text(query)).scalars())


def test_two_machines_that_migrate_at_once_take_turns(postgresql: Postgresql) -> None:
    url = postgresql.database().url
    script = "import sys; from gateway.store.migrate import migrate; migrate(sys.argv[1])"
    machines = [subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE) for _ in range(3)]
    assert [machine.communicate(timeout=60)[1].decode() for machine in machines] == [""] * 3
    check_schema(url)


def test_head_is_the_last_script() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


@pytest.mark.parametrize("kind", KINDS)
def test_migrating_twice_changes_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path, request)
    migrate(url)
    check_schema(url)
    with opened(url, write=False) as connection:
        assert version(connection) == HEAD


def test_a_store_is_made_for_its_owner_alone_in_wal_mode(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/er/store.db"
    migrate(url)
    assert (tmp_path / "deep/er/store.db").stat().st_mode & 0o777 == 0o600
    with opened(url, write=True) as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_store_that_is_behind_is_refused(tmp_path: Path) -> None:
    url = store_url(tmp_path)
    with opened(url, write=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(
        ConfigError, match=f"^store.url: the store is at 0000, this version needs {HEAD}; run `smtp-gateway store migrate`$"
    ):
        check_schema(url)


def test_a_missing_store_is_refused_and_not_made(tmp_path: Path) -> None:
    missing = r"/none\.db: No such file or directory\); run `smtp-gateway store migrate` to make it$"
    with pytest.raises(ConfigError, match=missing):
        check_schema(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_user_is_not_taken_for_a_missing_one(unprivileged: Path) -> None:
    folder = unprivileged / "closed"
    folder.mkdir()
    (folder / "gateway.db").touch()
    for closed in (folder / "gateway.db", folder):
        closed.chmod(0)
        with pytest.raises(ConfigError, match=r"Permission denied\); this user \(id \d+\) may not read and write it") as caught:
            check_schema(f"sqlite:///{folder}/gateway.db")
        assert "store migrate" not in str(caught.value)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of ours, who are not root: it may do everything, so it becomes somebody else for a while."""
    root = os.geteuid() == 0
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if root:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_an_empty_database_is_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with opened(f"sqlite:///{tmp_path}/empty.db", write=False) as connection:
        assert version(connection) == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^store.url: cannot make .*/file/store.db"):
        migrate(f"sqlite:///{tmp_path}/file/store.db")


@pytest.mark.parametrize("damage", [b"this is no database, whatever its name says" * 100, None])
def test_a_damaged_file_is_called_damaged_with_what_to_do(tmp_path: Path, damage: bytes | None) -> None:
    url = store_url(tmp_path)
    path = tmp_path / "gateway.db"
    octets = path.read_bytes()
    path.write_bytes(damage or octets[:100] + b"\xff" * (len(octets) - 100))
    with pytest.raises(ConfigError) as refused:
        check_schema(url)
    (problem,) = refused.value.problems
    assert "the SQLite file is damaged" in problem
    assert "restore a backup" in problem
    assert "this user" not in problem
