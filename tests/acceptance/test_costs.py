"""What mail costs in system calls, counted by strace: a guard against slowness that no busy machine moves.

One client, one message after the other, each delivered before the next, so that nothing shares a packet, a trip to a thread
or a commit with anything else: the most that a message can cost. The limits have a quarter of room. `write` counts lines of the
log and trips to a thread, each of which wakes the reactor by one.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, require_program
from tests.acceptance.mail import message
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import PATIENCE, until
from tests.acceptance.wire import Wire, signed_in

WARM, COUNT = 3, 40
BODY = b"a line of text\r\n" * 250

MESSAGE = {"sendto": 5, "recvfrom": 6, "epoll_ctl": 0.5, "write": 11, "fsync": 2.5, "pwrite64": 58, "fcntl": 25}
SESSION = {"sendto": 10, "recvfrom": 10, "epoll_ctl": 2.5, "write": 4}


@contextmanager
def counted(gateway: GatewayProcess) -> Iterator[dict[str, float]]:
    """System calls of all its threads meanwhile, by name; filled in at the end."""
    calls: dict[str, float] = {}
    summary, errors = gateway.at.folder / "calls", gateway.at.folder / "strace.err"
    command = [require_program("strace"), "-c", "-f", "-o", str(summary), "-p", str(gateway.process.pid)]
    with errors.open("wb") as said:
        strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        until(lambda: " attached" in errors.read_text(), lambda: f"strace: {errors.read_text()}")
        yield calls
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(PATIENCE)
    for line in summary.read_text("utf-8").splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit():
            calls[fields[-1]] = int(fields[3])


def send(gateway: GatewayProcess, wire: Wire, names: range) -> None:
    for number in names:
        wire.send(f"MAIL FROM:<{LOGIN}>\r\n".encode() + b"RCPT TO:<bob@example.net>\r\nDATA\r\n")
        assert [wire.reply().code for _ in range(3)] == [250, 250, 354]
        wire.send(message(f"m{number}", body=BODY) + b".\r\n")
        assert wire.reply().code == 250
        gateway.until_logged("delivered", number + 1)


def over(calls: dict[str, float], limits: dict[str, float]) -> dict[str, float]:
    """Those that cost more than they may, with what one costs."""
    made = {name for name, most in limits.items() if most >= 1}  # of the others there may be none at all
    assert made <= calls.keys(), "strace says something else than it did"
    return {name: calls.get(name, 0) / COUNT for name, most in limits.items() if calls.get(name, 0) / COUNT > most}


def test_system_calls_of_a_message(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    with signed_in(gateway) as wire:
        send(gateway, wire, range(WARM))
        with counted(gateway) as calls:
            send(gateway, wire, range(WARM, WARM + COUNT))
    assert over(calls, MESSAGE) == {}


def test_system_calls_of_a_session(gateway: GatewayProcess) -> None:
    signed_in(gateway).close()
    with counted(gateway) as calls:
        for _ in range(COUNT):
            with signed_in(gateway) as wire:
                assert wire.command("QUIT").code == 221
    assert over(calls, SESSION) == {}
