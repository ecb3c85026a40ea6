"""The migrated store against the tables the code is written for."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.schema import CreateIndex, CreateTable

from gateway.errors import ConfigError
from gateway.store.engine import opened
from gateway.store.migrate import check_schema, migrate, version
from gateway.store.schema import HEAD, metadata
from tests.stores import store_url


def _definitions(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"))
    return {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def test_a_migrated_store_equals_a_fresh_one(tmp_path: Path) -> None:
    fresh = create_engine("sqlite://")
    with fresh.begin() as connection:
        metadata.create_all(connection)
        wanted = _definitions(connection)
    with opened(store_url(tmp_path), write=False) as connection:
        assert _definitions(connection) == wanted
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_tables_can_be_made_on_postgresql_too() -> None:
    from sqlalchemy.dialects import postgresql

    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_head_is_the_last_script() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    url = store_url(tmp_path)
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
