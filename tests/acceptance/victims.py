"""What a test kills with -9 and brings back: gateways, one of their workers, the next hop, the store."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from tests.acceptance.free_port import free_port
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.journal_hop import Entry
from tests.acceptance.waiting import until
from tests.servers.process import ServerProcess, children, runs

PATIENCE = 60.0  # seconds
_HOP = Path(__file__).with_name("journal_hop.py")


class Victim(Protocol):
    """`who` is the name in the account of kills (`gateway.tests.deliveries`)."""

    @property
    def who(self) -> str: ...

    def kill(self) -> None:
        """It is gone when this returns."""

    def revive(self) -> None:
        """It serves again when this returns."""


class JournalHop:
    """journal_hop.py as a process, always on the same port and with the same journal."""

    who = "hop"

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
        words = [sys.executable, _HOP, str(self.port), self._journal, str(self._lives)]
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(words, stderr=errors)
        until(self._answers, lambda: self._errors.read_text("utf-8"), PATIENCE)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def entries(self) -> list[Entry]:
        """The journal so far."""
        complete, _, _ = self._journal.read_text("utf-8").rpartition("\n") if self._journal.exists() else ("", "", "")
        return [Entry(*json.loads(line)) for line in complete.splitlines()]
