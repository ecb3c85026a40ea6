"""A disk that fails at any step of accepting: never a 250 for what is not there, and all is well again when the disk is.

Each fault is injected into the running gateway while one session goes on sending. What got a 250 has to arrive in the end,
from a gateway that was killed after the faults; what got a 4xx may or may not.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.faults import failing, threads
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import require_program, run_tool
from tests.acceptance.mail import message
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Reply, Wire, signed_in

SMALL, LARGE = 2_000, 300_000  # a body in its row, and one in the spool
FULL, BROKEN, ACCEPTED = "452 4.3.1", "451 4.3.0", "250 2.0.0"
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # of queue ids, whose last two characters name a folder


class Sender:
    """One session that lives through all faults, and the list of what got a 250."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.accepted: set[str] = set()
        self._wire = signed_in(gateway)
        self._names = count()

    def send(self, size: int) -> Reply:
        name = f"n{next(self._names)}"
        self._wire.envelope("bob@example.net")
        said = self._wire.data(message(name, body=b"%070d\r\n" % 7 * (size // 72)))
        if said.code == 250:
            self.accepted.add(f"<{name}@test.example>")
        return said

    def close(self) -> None:
        self._wire.close()

    def until_accepted(self, size: int) -> None:
        until(lambda: self.send(size).head == ACCEPTED, self.gateway.story)


@contextmanager
def survived(install: Install, smarthost: Smarthost) -> Iterator[Sender]:
    """A gateway whose next hop is away while faults happen; afterwards it is killed, and delivers what it has accepted."""
    smarthost.down()
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    sender = Sender(gateway)
    assert {sender.send(LARGE).code, sender.send(SMALL).code} == {250}
    yield sender
    sender.until_accepted(LARGE)
    until(lambda: not leaked(gateway), lambda: f"{leaked(gateway)}")
    assert not gateway.logged("unexpected error"), gateway.story()
    assert not [path.name for path in (gateway.at.state / "spool" / "tmp").iterdir()]
    gateway.kill()
    gateway.start()
    smarthost.up()
    until(lambda: sender.accepted <= arrived(smarthost), lambda: f"missing {sender.accepted - arrived(smarthost)}")


def arrived(smarthost: Smarthost) -> set[str]:
    return {str(delivery.message["Message-ID"]) for delivery in smarthost.received("bob@example.net")}


def open_files(gateway: GatewayProcess) -> list[str]:
    """The paths of its descriptors."""
    found = []
    for descriptor in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(descriptor))
    return found


def leaked(gateway: GatewayProcess) -> list[str]:
    """Files that it has no reason to have open, or that it has open too often: each thread of the store has them once."""
    files = open_files(gateway)
    return [path for path in files if "/spool" in path or "(deleted)" in path or (path[:1] == "/" and files.count(path) > 6)]


def refused(sender: Sender, size: int, expected: str) -> None:
    """A message is refused in the words for it; the failure is in the log, and is counted."""
    gateway = sender.gateway
    lines, errors = len(gateway.logged("the store cannot be used")), gateway.figure("store_errors_total")
    said = sender.send(size)
    assert said.head == expected, (said, gateway.story())
    until(lambda: len(gateway.logged("the store cannot be used")) > lines, "a line in the log")
    assert gateway.figure("store_errors_total") > errors


def limit(gateway: GatewayProcess, what: str) -> None:
    subprocess.run([require_program("prlimit"), "--pid", str(gateway.process.pid), what], check=True)


SPOOL = [  # the call, what goes wrong, what is said: steps of a body's way to disk
    ("openat", "EMFILE", BROKEN),
    ("openat", "ENFILE", BROKEN),
    ("openat", "EROFS", BROKEN),
    ("openat", "EACCES", BROKEN),
    ("openat", "ENOSPC", FULL),
    ("fsync", "EIO", BROKEN),
    ("fsync", "ENOSPC", FULL),
    ("fsync", "EDQUOT", FULL),
    ("mkdir", "EIO", BROKEN),
    ("mkdir", "EDQUOT", FULL),
    ("rename", "EIO", BROKEN),
    ("rename", "ENOSPC", FULL),
]
STORE = [  # steps of a commit; SQLite says nothing of a quota, nor why a sync has failed
    ("pwrite64", "EIO", BROKEN),
    ("pwrite64", "ENOSPC", FULL),
    ("pwrite64", "EDQUOT", BROKEN),
    ("fsync,fdatasync", "EIO", BROKEN),
    ("fsync,fdatasync", "ENOSPC", BROKEN),
]


def test_a_spool_that_fails_at_each_step(install: Install, smarthost: Smarthost) -> None:
    with survived(install, smarthost) as sender:
        for call, error, said in SPOOL:
            with failing(sender.gateway, f"{call}:error={error}") as faults:
                refused(sender, LARGE, said)
            assert any("/spool" in line for line in faults.injected)
            sender.until_accepted(LARGE)


@pytest.mark.parametrize("call", ["openat", "fsync"])
def test_folders_of_the_spool_that_cannot_be_synced(install: Install, smarthost: Smarthost, call: str) -> None:
    """The body itself is on disk by then, and under its name in one case; still it is not accepted, and goes."""
    with survived(install, smarthost) as sender:
        spool = sender.gateway.at.state / "spool"
        folders = [spool / (a + b) for a in ALPHABET for b in ALPHABET]
        for places in ([spool], folders):
            with failing(sender.gateway, f"{call}:error=EIO", *places) as faults:
                refused(sender, LARGE, BROKEN)
            assert faults.injected
            sender.until_accepted(LARGE)


def test_a_file_that_may_not_grow(install: Install, smarthost: Smarthost) -> None:
    """The write itself fails, after a part of it was written."""
    with survived(install, smarthost) as sender:
        limit(sender.gateway, "--fsize=1000000:")
        refused(sender, 1_500_000, BROKEN)
        assert sender.send(SMALL).head == ACCEPTED
        limit(sender.gateway, "--fsize=unlimited:")
        sender.until_accepted(1_500_000)


def test_a_store_that_fails_at_each_step_of_a_commit(install: Install, smarthost: Smarthost) -> None:
    with survived(install, smarthost) as sender:
        log = sender.gateway.at.state / "gateway.db-wal"
        for call, error, said in STORE:
            with failing(sender.gateway, f"{call}:error={error}", log) as faults:
                refused(sender, SMALL, said)
                refused(sender, LARGE, said)
            assert faults.injected
            sender.until_accepted(SMALL)


@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
def test_a_store_that_fails_once_anywhere(install: Install, smarthost: Smarthost, call: str) -> None:
    """Whichever write or sync it is: the message is there, or it was refused."""
    with survived(install, smarthost) as sender:
        for number in range(1, 25 if call == "pwrite64" else 4):
            with failing(sender.gateway, f"{call}:error=EIO:when={number}") as faults:
                said: set[str] = set()
                while not faults.injected:
                    said |= {sender.send(size).head for size in (SMALL, LARGE, SMALL)}
            assert said <= {ACCEPTED, BROKEN}
    assert len(sender.accepted) > 5


def test_a_store_that_fails_while_mail_goes_out(install: Install, smarthost: Smarthost) -> None:
    """Leases, outcomes and bodies that go: whatever fails between, all that was accepted arrives and nothing is left behind."""
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    sender = Sender(gateway)
    for number in range(1, 13):
        for call in ("pwrite64", "fsync"):
            with failing(gateway, f"{call}:error=EIO:when={number}") as faults:
                said: set[str] = set()
                while not faults.injected:
                    said |= {sender.send(size).head for size in (SMALL, LARGE, SMALL)}
            assert said <= {ACCEPTED, BROKEN}
    until(lambda: sender.accepted <= arrived(smarthost), lambda: f"missing {sender.accepted - arrived(smarthost)}")
    until(lambda: gateway.figure("queue_recipients") == 0, lambda: f"{gateway.get('/metrics')}\n{gateway.story()}")
    until(lambda: not leaked(gateway), lambda: f"{leaked(gateway)}")
    assert not gateway.logged("unexpected error"), gateway.story()


def test_a_checkpoint_that_fails(install: Install, smarthost: Smarthost) -> None:
    """The write-ahead log has the mail, so it is accepted, and the log is moved into the file when that can be written."""
    with survived(install, smarthost) as sender:
        file = sender.gateway.at.state / "gateway.db"
        for fault in ("pwrite64:error=EIO", "fsync:error=EIO", "pwrite64:error=ENOSPC"):
            with failing(sender.gateway, fault, file) as faults:
                until(lambda: sender.send(60_000).head == ACCEPTED and faults.injected, sender.gateway.story)
                assert sender.send(SMALL).head == ACCEPTED


def test_without_a_thread_to_be_had_mail_is_taken_all_the_same(install: Install, smarthost: Smarthost) -> None:
    """All threads are there from the start: a pool that grew would leave sessions hanging."""
    with survived(install, smarthost) as sender:
        gateway = sender.gateway
        with (
            failing(gateway, "clone,clone3:error=EAGAIN", only=[str(gateway.process.pid), *threads(gateway)]),
            ThreadPoolExecutor(8) as clients,
        ):
            senders = [Sender(gateway) for _ in range(8)]
            assert {said.head for said in clients.map(lambda each: each.send(LARGE), senders)} == {ACCEPTED}
        for each in senders:
            each.close()


def greeting(wire: Wire) -> str:
    try:
        return wire.reply().head
    except (EOFError, ConnectionResetError):
        return "closed"


def test_too_many_open_files(install: Install, smarthost: Smarthost) -> None:
    """Those who come too many are closed at once, the sessions that are there go on, and all is well when some have left."""
    with survived(install, smarthost) as sender, contextlib.ExitStack() as crowd:
        gateway = sender.gateway
        gateway.get("/metrics")
        limit(gateway, f"--nofile={len(open_files(gateway)) + 3}:")
        assert greeting(crowd.enter_context(Wire(gateway.starttls))) == "220 gateway.example"

        def full() -> bool:
            """Try again with one more: what else was open when it was counted, a try to reach the hop, may be closed by now."""
            return greeting(crowd.enter_context(Wire(gateway.starttls))) == "closed" and sender.send(LARGE).head == BROKEN

        until(full, gateway.story)
        assert sender.send(SMALL).head == ACCEPTED
        crowd.close()
        sender.until_accepted(LARGE)


def test_sessions_are_refused_before_files_are_too_many(install: Install) -> None:
    """What the system allows is less than the settings want: that is said at the start, and one too many is told why."""
    gateway = install(limits={"connections": 50_000, "connections_per_network": 50_000})
    gateway.under = (require_program("prlimit"), "--nofile=100:206")
    gateway.start()
    [said] = [line["what"] for line in gateway.logged("settings") if "connections" in line["what"]]
    assert said.startswith("limits.connections: 50000, but only 3 sessions fit")
    with contextlib.ExitStack() as crowd:
        told = [greeting(crowd.enter_context(Wire(gateway.starttls))) for _ in range(4)]
        assert told == ["220 gateway.example"] * 3 + ["421 4.7.0"]


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own for what is in `folder`; False where none can be mounted."""
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    command = [require_program("mount"), "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(gateway: GatewayProcess, *, mounted: bool) -> Iterator[None]:
    """Not an octet more in the state directory."""
    if not mounted:
        with failing(gateway, "openat,mkdir,pwrite64:error=ENOSPC"):
            yield
        return
    filler = gateway.at.state / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    yield
    filler.unlink()


def test_a_start_on_a_full_disk_says_so_in_one_line(install: Install) -> None:
    gateway = install()
    with small_disk(gateway.at.state) as mounted:
        if not mounted:
            pytest.skip("no file system can be mounted")
        with full_disk(gateway, mounted=True):
            gateway.spawn()
            assert gateway.wait() == 2
            [line] = gateway.errors().splitlines()
            assert "its disk is full: make room on it" in line
            assert "this user" not in line
            assert "its disk is full" in run_tool(gateway.at.folder, "doctor").stdout
        gateway.start()
        assert gateway.stop() == 0


def test_a_full_disk(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]})
    with small_disk(gateway.at.state) as mounted, survived(lambda **_: gateway, smarthost) as sender:
        for _ in range(2):
            with full_disk(gateway, mounted=mounted):
                refused(sender, LARGE, FULL)
                until(lambda: sender.send(SMALL).head == FULL, "no room for a small one either")  # some may still fit
                assert gateway.get("/healthz")[0] == 200
            sender.until_accepted(SMALL)
            sender.until_accepted(LARGE)
