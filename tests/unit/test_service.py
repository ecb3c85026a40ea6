"""The wiring as a process of its own: what a start refuses, where its log goes, what a reload takes, how it stops.

The processes import the checkout; what they do for mail clients is in tests/acceptance/.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.command import root

ROOT = Path(__file__).parent.parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--pidfile="]
WAIT = 60.0  # seconds for a process to do what it was told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place as `init` leaves it, with ports that the system chooses."""
    made = CliRunner().invoke(root, ["--config", str(tmp_path / "gateway.toml"), "init"])
    assert made.exit_code == 0, made.output
    change(tmp_path, r"port = \d+", "port = 0")
    return tmp_path


def change(folder: Path, pattern: str, replacement: str) -> None:
    path = folder / "gateway.toml"
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"))
    assert count, f"{pattern} is not in {path}"
    path.write_text(text, encoding="utf-8")


class Running:
    """A gateway in the foreground in `folder`; its output goes to a file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._output = (folder / "output").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [*TWISTD, *options, "smtp-gateway", "--card"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self._output, stderr=subprocess.STDOUT)

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    def until(self, words: str, read: Callable[[], str] | None = None) -> str:
        """Wait for `words` in the output, or in what `read` gives; the whole of it."""
        pause = self._pauses()
        while words not in (text := (read or self.output)()):
            assert self.process.poll() is None, f"it ended without {words!r}:\n{self.output()}"
            assert next(pause), f"no {words!r} in:\n{text}"
        return text

    def _pauses(self) -> Iterator[bool]:
        """Each a short wait for the process to end; False once they add up to WAIT."""
        for _ in range(int(WAIT / 0.05)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
            yield True
        yield False

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(WAIT)
        finally:
            self.process.kill()
            self._output.close()


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*options: str) -> Running:
        running.append(Running(folder, *(options or ("-n",))))
        return running[-1]

    yield begin
    for each in running:
        each.end()


def refused(folder: Path) -> tuple[int, str]:
    """Exit status and output of a start that must fail."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*TWISTD, "-n", "smtp-gateway"], cwd=folder, env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    return done.returncode, done.stderr


def test_all_mistakes_of_the_configuration_are_named(folder: Path) -> None:
    change(folder, r"\[log\]", "[log]\nlevl = 3")
    change(folder, r"recipients = \d+", "recipients = 0")
    status, said = refused(folder)
    assert status == 2
    assert "log.levl: " in said
    assert "limits.recipients: " in said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        change(folder, r"(?s)(\[http\].*?port = )0", rf"\g<1>{port}")
        status, said = refused(folder)
    assert status == 1
    assert said.startswith(f"http.port: cannot listen on 127.0.0.1 port {port}: Address already in use; ")
    assert said.count("\n") == 1


def test_a_start_a_reload_and_a_stop(folder: Path, start: Callable[..., Running]) -> None:
    gateway = start()
    text = gateway.until("\nTry: ")
    ports = dict(re.findall(r"^(STARTTLS port|TLS port): (\d+)$", text, re.MULTILINE))
    assert len(ports) == 2
    assert set(ports.values()) < set(re.findall(r"127\.0\.0\.1:(\d+)", text))

    with socket.create_connection(("127.0.0.1", int(ports["STARTTLS port"])), WAIT) as client:
        file = client.makefile("rwb")
        assert file.readline().startswith(b"220 ")
        status, said = refused(folder)  # a second one in the same place
        assert (status, "server.state_dir: another gateway uses" in said) == (2, True)

        change(folder, r"recipients = \d+", "recipients = 7")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until("configuration reloaded")
        assert b"RCPTMAX=7" in answer(file, b"EHLO client.example\r\n")

        change(folder, r"\[http\]", "[nonsense]\n[http]")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until("new configuration refused")
        assert b"RCPTMAX=7" in answer(file, b"EHLO client.example\r\n")

        change(folder, r"\[nonsense\]\n", "")
        change(folder, r"(?s)(\[http\].*?port = )0", r"\g<1>8025")
        gateway.process.send_signal(signal.SIGHUP)
        assert "tables=http" in gateway.until("changes that need a restart")

        gateway.process.send_signal(signal.SIGTERM)
        assert file.readline().startswith(b"421 4.3.2 ")
        assert file.read() == b""
    gateway.end()
    assert " stopped" in gateway.output()
    assert "Traceback" not in gateway.output()
    assert "unexpected error" not in gateway.output()


def test_a_login_table_of_another_kind_is_said_at_the_start_and_never_ready(
    folder: Path, start: Callable[..., Running]
) -> None:
    change(folder, r"# \[accounts.columns\]", '[accounts.columns]\nlogin = "mail"')
    change(folder, r'port = 0\nsecurity = "tls"', 'port = 0\nsecurity = "none"\nallow_plaintext_auth = true')
    change(folder, r'(?s)address = "127.0.0.1"(?=\nport = 0\nsecurity = "none")', 'address = "0.0.0.0"')
    gateway = start()
    text = gateway.until("\nTry: ")
    assert "sampling the login table's hashes" in text
    assert "no such column: users.mail" in text
    assert "listen.2.allow_plaintext_auth: passwords come over the network in clear" in text
    *_, http = re.findall(r"127\.0\.0\.1:(\d+)", text.partition("\nServer: ")[0])  # the last listener in the line of the start
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz"):
        pass
    assert json.loads(caught.value.read())["login_table"] == "failed"


def answer(file: Any, command: bytes) -> bytes:
    """The whole reply to one command."""
    file.write(command)
    file.flush()
    lines = [file.readline()]
    while lines[-1][3:4] == b"-":
        lines.append(file.readline())
    return b"".join(lines)


def test_the_log_goes_where_twistd_says(folder: Path, start: Callable[..., Running]) -> None:
    gateway = start("-n", "--logfile", "gateway.log")
    gateway.until("\nTry: ")
    log = folder / "gateway.log"
    assert " started  version=" in log.read_text(encoding="utf-8")
    assert " started  version=" not in gateway.output()


def test_logs_as_json(folder: Path, start: Callable[..., Running]) -> None:
    change(folder, 'format = "console"', 'format = "json"')
    gateway = start()
    text = gateway.until("\nTry: ")
    assert re.search(r'^\{.*"event": "started".*\}$', text, re.MULTILINE)
