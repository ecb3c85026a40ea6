"""The workers of a running gateway, each by its number: their process ids from its log, and what one alone is made to do."""

import os
import signal
from collections.abc import Iterator
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
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(_stands_still(pid) for pid in others), "the others stand still")
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def cores_of_threads(pid: int) -> list[set[int]]:
    """For each of its threads, that of the reactor first, the cores that it may run on."""
    return [set(os.sched_getaffinity(int(task))) for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int)]


def _stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].startswith("T")
