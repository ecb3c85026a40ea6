"""System calls of a running gateway that fail to order: strace injects the errors, into its worker threads alone.

The reactor's thread is left out: it does no work on disk, and a write that fails there would be one to its log. For the same
reason a fault has to say which files it is about, or which call of a thread.
"""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import require_program
from tests.acceptance.waiting import PATIENCE, until


class Faults:
    """What was made to fail."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def injected(self) -> list[str]:
        """The calls that failed by our order, as strace shows them, with the paths of their descriptors."""
        return [line for line in self._log.read_text("utf-8", "replace").splitlines() if line.endswith("(INJECTED)")]


def threads(gateway: GatewayProcess) -> list[str]:
    """The ids of its threads but for the reactor's."""
    pid = str(gateway.process.pid)
    return [task.name for task in Path(f"/proc/{pid}/task").iterdir() if task.name != pid]


@contextmanager
def failing(gateway: GatewayProcess, fault: str, *files: Path, only: Sequence[str] = ()) -> Iterator[Faults]:
    """While it lasts, `fault` ("fsync:error=EIO:when=2+", see `strace -e inject`) happens to the gateway.

    To calls about `files` alone, if there are any; in the threads `only`, or in all. "when" counts each thread's calls.
    """
    traced = list(only) or threads(gateway)
    log = gateway.at.folder / "strace.log"
    log.unlink(missing_ok=True)
    errors = gateway.at.folder / "strace.err"
    calls = fault.partition(":")[0]
    command = [require_program("strace"), "-y", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={fault}"]
    command += [part for file in files for part in ("-P", str(file))]
    command += [part for thread in traced for part in ("-p", thread)]
    with errors.open("wb") as said:
        strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        until(lambda: errors.read_text().count(" attached") == len(traced), lambda: f"strace: {errors.read_text()}")
        yield Faults(log)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(PATIENCE)
