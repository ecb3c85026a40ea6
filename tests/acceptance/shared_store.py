"""A store on PostgreSQL for the gateways of one test, and a next hop that takes its time."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import merged, run_tool
from tests.acceptance.smarthost import Smarthost
from tests.servers.databases import Postgresql, ServerDatabase


class SharedStore:
    """`machine(section={...})` is a gateway over it, with a state directory of its own, that is not started yet."""

    def __init__(self, server: Postgresql, install: Install) -> None:
        self.server = server
        self.database: ServerDatabase = server.database()
        self._install = install
        self._migrated = False

    def machine(self, **sections: Any) -> GatewayProcess:
        ours = {"server": {"secret": "x" * 32}, "store": {"url": self.database.url}}
        gateway = self._install(merged(ours, sections))
        if not self._migrated:
            done = run_tool(gateway.at.folder, "store", "migrate")
            assert done.returncode == 0, done.stderr
            self._migrated = True
        return gateway

    def count(self, table: str, where: str = "true") -> int:
        return int(self.database.run(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])


class WaitingSmarthost(Smarthost):
    """It has each message for as long as `let_go` is not set, and answers then."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.has = threading.Semaphore(0)

    def reply(self, command: bytes, usual: bytes = b"250 2.0.0 ok\r\n") -> bytes:
        if command == b".":
            self.has.release()
            assert self.let_go.wait(150.0)
        return super().reply(command, usual)


@pytest.fixture
def shared_store(postgresql: Postgresql, install: Install) -> Iterator[SharedStore]:
    yield SharedStore(postgresql, install)
    if not postgresql.process.runs:  # a test ended while it was away
        postgresql.process.start()
