"""What a test kills with -9 and brings back: gateways, one of their workers, the next hop, the store."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.acceptance.deliveries import HOP
from tests.acceptance.free_port import free_port
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.journal_hop import Entry
from tests.acceptance.waiting import until
from tests.servers.process import ServerProcess, children, runs, stands_still

PATIENCE = 60.0  # seconds
_HOP = Path(__file__).with_name("journal_hop.py")


class Victim(Protocol):
    """`who` is its name in the account (tests.acceptance.deliveries)."""

    @property
    def who(self) -> str: ...

    def kill(self) -> None:
        """It is gone when this returns."""

    def revive(self) -> None:
        """It serves again when this returns."""


class JournalHop:
    """journal_hop.py as a process, always on the same port and with the same journal."""

    who = HOP

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._journal = folder / "journal"
        self._errors = folder / "hop.err"
        self._process: subprocess.Popen[bytes] | None = None
        self._lives = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?tls=none"

    def revive(self) -> None:
        self._lives += 1
        # setpriv: should this process die without a word, the kernel ends the hop
        program = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, str(_HOP)]
        words = [str(self.port), str(self._journal), str(self._lives)]
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen([*program, *words], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        until(self._answers, lambda: self._errors.read_text("utf-8"), PATIENCE)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False

    def entries(self) -> list[Entry]:
        """The journal so far."""
        complete, _, _ = self._journal.read_text("utf-8").rpartition("\n") if self._journal.exists() else ("", "", "")
        return [Entry(*json.loads(line)) for line in complete.splitlines()]


@pytest.fixture
def hop(tmp_path: Path) -> Iterator[JournalHop]:
    """Up."""
    made = JournalHop(tmp_path)
    made.revive()
    yield made
    made.kill()


class Gateway:
    """A whole gateway, with its workers when it has some."""

    def __init__(self, process: GatewayProcess) -> None:
        self.process = process
        self.who = str(process.at.settings["server"]["hostname"])

    def kill(self) -> None:
        pid = self.process.process.pid
        self.process.signal(signal.SIGSTOP)  # so that it starts no more workers meanwhile
        until(lambda: stands_still(pid), "the gateway stands still", PATIENCE)
        workers = children(pid)
        for worker in workers:
            _kill(worker)
        self.process.kill()
        until(lambda: not any(map(runs, workers)), "the workers are gone", PATIENCE)

    def revive(self) -> None:
        self.process.start()


class Parent(Gateway):
    """Of workers, which find out and end by themselves."""

    def kill(self) -> None:
        workers = children(self.process.process.pid)
        self.process.kill()
        until(lambda: not any(map(runs, workers)), "the workers are gone", PATIENCE)


class Worker:
    """Any of a gateway's workers; the gateway brings it back by itself."""

    def __init__(self, gateway: GatewayProcess, chance: random.Random) -> None:
        self._gateway = gateway
        self._chance = chance
        self.who = str(gateway.at.settings["server"]["hostname"])

    def kill(self) -> None:
        pid = self._chance.choice(self._living())
        _kill(pid)
        until(lambda: not runs(pid), "the worker is gone", PATIENCE)

    def revive(self) -> None:
        wanted = self._gateway.at.settings["server"]["workers"]
        until(lambda: len(self._living()) == wanted, self._gateway.story, PATIENCE)

    def _living(self) -> list[int]:
        return [pid for pid in sorted(children(self._gateway.process.pid)) if runs(pid)]


class Store:
    """A PostgreSQL server."""

    who = "store"

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def revive(self) -> None:
        self._process.start()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself in the meantime
        os.kill(pid, signal.SIGKILL)
