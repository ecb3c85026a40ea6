"""A start that can make no thread, or too few (TasksMax, ulimit -u), ends with status 1 and says why."""

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.installation import require_program

NO_THREAD = "no thread can be started"
NO_WORKER = "no worker can be started, so the gateway does not start"


@pytest.fixture(scope="session")
def no_thread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    library = tmp_path_factory.mktemp("no_thread") / "no_thread.so"
    source = Path(__file__).with_name("no_thread.c")
    command = [require_program("cc"), "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


@pytest.mark.parametrize(("workers", "threads"), [(1, 0), (1, 1), (1, 9), (1, 16), (2, 3)])
def test_a_start_without_threads_ends_with_one_line(install: Install, no_thread: Path, workers: int, threads: int) -> None:
    """Also when some have begun already, which would keep the process."""
    gateway = install(server={"workers": workers})
    gateway.under = ("env", f"LD_PRELOAD={no_thread}", f"THREADS={threads}")
    gateway.spawn()
    assert gateway.wait() == 1
    [line] = [line for line in gateway.lines() if line["level"] in ("warning", "error") and "made private" not in line["event"]]
    assert line["event"] == NO_THREAD
    assert "TasksMax" in line["reason"]
    assert gateway.errors() == ""


@pytest.mark.parametrize("threads", [0, 3])
def test_a_start_ends_when_no_worker_has_threads(install: Install, no_thread: Path, threads: int) -> None:
    gateway = install(server={"workers": 2})
    gateway.under = ("env", f"LD_PRELOAD={no_thread}", f"THREADS={threads}", "ONLY=gateway.worker")
    gateway.spawn()
    assert gateway.wait() == 1
    assert {line["worker"] for line in gateway.logged(NO_THREAD)} == {1, 2}
    assert len(gateway.logged(NO_WORKER)) == 1
    assert not gateway.logged("started")
    assert "Traceback" not in gateway.raw_log() + gateway.errors()
