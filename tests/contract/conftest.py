"""What contract tests of the login table share: one database of each kind. A test file may have fixtures of its own instead."""

from pathlib import Path

import pytest

from tests.pump import Pump
from tests.servers.databases import Database, SqliteDatabase


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return SqliteDatabase(tmp_path)
    server = request.getfixturevalue("postgresql" if request.param == "postgresql" else "mariadb")
    made: Database = server.database()
    return made


@pytest.fixture
def pump() -> Pump:
    return Pump()
