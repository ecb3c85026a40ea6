"""Heavy load from a program in C, with a ledger of the messages that got their 250."""

import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from tests.acceptance.free_port import free_port
from tests.acceptance.installation import LOGIN, PASSWORD, require_program
from tests.acceptance.wire import plain

RECIPIENTS = ("bob@example.net", "blind@example.net")  # as in smtpload.c; the second is in no header
CLIENTS = 6
_SOURCE = Path(__file__).with_suffix(".c")


@pytest.fixture(scope="session")
def smtpload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    compiler = require_program("cc")
    program = tmp_path_factory.mktemp("smtpload") / "smtpload"
    done = subprocess.run([compiler, "-O2", "-pthread", "-o", program, _SOURCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def for_load(hop_url: str, name: str) -> dict[str, Any]:
    """Settings of a gateway called `name`: a port that is always the same, without TLS; no limit that a load would reach."""
    return {
        "server": {"hostname": name, "secret": "x" * 32},
        "listen": [{"port": free_port(), "security": "none", "allow_plaintext_auth": True}],
        "limits": {"daily_recipients": 0},
        "relay": {"next_hop": [hop_url], "retry": ["1s"]},
    }


class Load:
    """One run of the program against a port of 127.0.0.1. `tag` is of this run alone, `ledger` may be of many."""

    def __init__(self, program: Path, port: int, messages: int, tag: str, ledger: Path) -> None:
        self._words = [str(program), str(port), plain(LOGIN, PASSWORD), LOGIN, str(CLIENTS), str(messages), tag, str(ledger)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._words, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def over(self) -> bool:
        """Whether all of its messages have their 250."""
        status = self._process.poll()
        assert not status, self._process.communicate()[1]
        return status == 0
