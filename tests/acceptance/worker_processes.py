"""The workers of a running gateway, each by its number: their process ids from its log, and what one alone is made to do."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.waiting import until


def pids(gateway: GatewayProcess) -> dict[int, int]:
    """Of those that serve, or served last, under each number."""
    return {int(line["worker"]): int(line["pid"]) for line in gateway.logged("worker started")}


def is_there(pid: int) -> bool:
    """Whether the process is alive, or a zombie that is still waited for."""
    return Path(f"/proc/{pid}").exists()


def kill(gateway: GatewayProcess, worker: int) -> None:
    os.kill(pids(gateway)[worker], signal.SIGKILL)


def until_back(gateway: GatewayProcess, worker: int, before: int) -> None:
    """Wait until the worker that had the process id `before` serves again."""
    until(lambda: pids(gateway)[worker] != before, gateway.story)


@contextmanager
def only(gateway: GatewayProcess, worker: int) -> Iterator[None]:
    """The other ones stand still meanwhile: whoever connects comes to this one."""
    others = [pid for number, pid in pids(gateway).items() if number != worker]
    turn = [gateway.at.state / name for name in ("writer", "writer-next")]
    for pid in others:
        until(lambda pid=pid: _stopped(pid, turn), "it stands still")  # type: ignore[misc]
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def cores_of_threads(pid: int) -> list[set[int]]:
    """For each of its threads, that of the reactor first, the cores that it may run on."""
    return [set(os.sched_getaffinity(int(task))) for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int)]


def _stopped(pid: int, turn: Sequence[Path]) -> bool:
    """Whether it stands still and has no turn to write, for which this one would wait; if it has, it goes on."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _stands_still(pid), "it stands still")
    if not _locks(pid) & {path.stat().st_ino for path in turn if path.exists()}:
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def _stands_still(pid: int) -> bool:
    """With all its threads."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(stat.read_text("ascii").rpartition(") ")[2].startswith("T") for stat in threads)


def _locks(pid: int) -> set[int]:
    """The inodes of the files that it has locked (proc(5)); lines with an arrow are of those who wait."""
    lines = [line.split() for line in Path("/proc/locks").read_text("ascii").splitlines()]
    return {int(one[5].rpartition(":")[2]) for one in lines if one[1] != "->" and int(one[4]) == pid}
