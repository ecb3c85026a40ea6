"""Database servers for the contract suites: one of each kind a process, started when a test first asks for it."""

from collections.abc import Iterator

import pytest

from tests.servers.databases import Mariadb, Postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    server = Postgresql()
    yield server
    server.process.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    server = Mariadb()
    yield server
    server.process.close()
