"""A database server of our own: started on loopback as a user without rights, killed when asked, gone with the tests."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.free_port import free_port
from tests.acceptance.waiting import until

USER = "nobody"  # for tests that run as root: PostgreSQL refuses to be root
PATIENCE = 60.0  # seconds for a server to come up, which may have to recover first


def program(name: str) -> str:
    """Its path; a test that needs it is skipped by its name when it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or next(map(str, debian), None)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class ServerProcess:
    """`command(data, port)` is what runs in the foreground; `ready(port)` raises while it does not answer."""

    def __init__(self, name: str, command: Callable[[Path, int], list[str]], ready: Callable[[int], object]) -> None:
        self._name, self._command, self._ready = name, command, ready
        self.folder = Path(tempfile.mkdtemp(prefix=f"gateway-{name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)

    def run(self, *command: str | Path) -> None:
        """A command that ends, as the server's user."""
        done = subprocess.run(_as_user(command), cwd=self.folder, capture_output=True, timeout=120, env=_environment())
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        # setpriv: should this process die without a word, the kernel ends the server
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command(self.folder / "data", self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _as_user(command), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
            )
        until(self._is_ready, lambda: f"{self._name}: {self._tail()}", PATIENCE)

    @property
    def runs(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """As kill -9 and the out-of-memory killer do, with the processes that it started."""
        if self._process is not None:
            self.freeze()  # so that it starts no more of them meanwhile
            started = children(self._process.pid)
            for pid in [*started, self._process.pid]:
                _signal(pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
            # PostgreSQL does not start again while one of them still has its shared memory
            until(lambda: not any(map(runs, started)), lambda: f"{self._name}: its processes do not end", PATIENCE)
            self._process = None

    def freeze(self) -> None:
        """It goes on listening and answers nobody, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        _signal(self._process.pid, number)
        for pid in children(self._process.pid):
            _signal(pid, number)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._tail()
        try:
            self._ready(self.port)
        except Exception:
            return False
        return True

    def _tail(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-2000:]


def runs(pid: int) -> bool:
    """Whether the process has not ended yet; a zombie has."""
    stat = _stat(pid)
    return bool(stat) and stat[0] != "Z"


def stands_still(pid: int) -> bool:
    """Whether the process has been stopped, and not only sent the signal: until then it may start others. Or has ended."""
    stat = _stat(pid)
    return not stat or stat[0] in "TZ"


def _stat(pid: int) -> list[str]:
    """State, parent and what follows of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _as_user(command: tuple[str | Path, ...] | list[str]) -> list[str]:
    words = list(map(str, command))
    if os.geteuid() != 0:
        return words
    # First the user, then pdeathsig: the kernel forgets it when a process changes its user
    return ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--", *words]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


def children(pid: int) -> list[int]:
    """The processes that it has started. Not every kernel lists them under its task."""
    listed = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [each for each in listed if (stat := _stat(each)) and int(stat[1]) == pid]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it ended by itself in the meantime
        return
