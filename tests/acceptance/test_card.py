"""The first five minutes: what `make run` prints can be used as it stands."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.installation import PROGRAMS, elsewhere, environment, require_program, run_tool
from tests.acceptance.waiting import PATIENCE, until

LABELS = ("Server", "STARTTLS port", "TLS port", "User", "Password", "Mail arrives in", "Try")
CHECKOUT = Path(__file__).parents[2]


def card(text: str) -> Mapping[str, str]:
    """The card's lines by label; nothing until all are there."""
    found = dict(re.findall(rf"^({'|'.join(LABELS)}): (.+)$", text, re.MULTILINE))
    return found if len(found) == len(LABELS) else {}


def check(shown: Mapping[str, str], folder: Path) -> None:
    """Every line of the card is true, and the line to copy sends a message."""
    assert shown["Server"] == "127.0.0.1"
    assert shown["User"] == "demo@example.com"
    assert shown["Mail arrives in"] == "var/mail"
    done = subprocess.run(shown["Try"], shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: list((folder / "var" / "mail").glob("*/new/*")), "the message of the line to copy")
    for port in ("STARTTLS port", "TLS port"):
        assert 0 < int(shown[port]) < 65536
    assert shown["Password"] in shown["Try"]


def test_init_and_a_start_with_the_card(tmp_path: Path) -> None:
    done = run_tool(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    config = tmp_path / "gateway.toml"
    config.write_text(re.sub(r"^port = \d+", "port = 0", config.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    log = tmp_path / "out"
    command = [str(PROGRAMS / "twistd"), "-n", "--pidfile=", "smtp-gateway", "--config", str(config), "--card"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=elsewhere(tmp_path), env=environment(), stdout=out, stderr=out)
    try:
        check(until(lambda: card(log.read_text("utf-8")), lambda: log.read_text("utf-8")), tmp_path)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def _must_be_free(*ports: int) -> None:
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                pytest.skip(f"port {port} is in use on this machine")


@pytest.mark.timeout(900)
def test_make_run_in_a_fresh_copy(tmp_path: Path) -> None:
    """`make run` as the README has it: its own virtual environment, the usual ports."""
    make = require_program("make")
    _must_be_free(2587, 2465, 8025)
    folder = tmp_path / "copy"
    left = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "var", "gateway.toml", "dropin.cache")
    shutil.copytree(CHECKOUT, folder, ignore=left)
    log = tmp_path / "out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [make, "run"], cwd=folder, env=_plain_environment(), stdout=out, stderr=out, start_new_session=True
        )
    try:
        shown = until(lambda: card(log.read_text("utf-8")), lambda: log.read_text("utf-8"), 600.0)
        assert (shown["STARTTLS port"], shown["TLS port"]) == ("2587", "2465")
        check(shown, folder)
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does it
        process.wait(PATIENCE)
    assert "Traceback" not in log.read_text("utf-8")
    assert re.search(r"\bstopped$", log.read_text("utf-8"), re.MULTILINE)


def _plain_environment() -> dict[str, str]:
    """Ours, without what a `make` around us has put there."""
    return {key: value for key, value in environment().items() if not key.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))}
