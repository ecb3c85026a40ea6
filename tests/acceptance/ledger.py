"""Load with a ledger: clients that send all the time, what they were promised, and what came of it."""

import contextlib
import random
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, session
from tests.acceptance.waiting import until

CLIENTS = 4
RECIPIENTS = ("bob@example.net", "blind@example.net")
NAME = re.compile(rb"^Message-ID: <([^@]+)@test\.example>", re.MULTILINE)


class Ledger:
    """The names of messages that got their 250."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self._numbers = count()
        self._bodies = random.Random(7)

    def name(self) -> str:
        return f"m{next(self._numbers)}"

    def octets(self, name: str) -> bytes:
        """Most are small, and go with their row; some are files in the spool, or rows of chunks."""
        size = self._bodies.choice((200, 2000, 30_000, 100_000, 400_000))
        return message(
            name, body=b"".join(b"%s line %d\r\n" % (name.encode(), n) for n in range(size // 12)) + b"last line\r\n"
        )


def _client(gateway: GatewayProcess, ledger: Ledger, over: threading.Event, *, patient: bool) -> None:
    """Send until it is over; with `patient` begin again after a refusal, else end with it."""
    while not over.is_set():
        with contextlib.suppress(OSError, smtplib.SMTPException), session(gateway) as client:
            while not over.is_set():
                name = ledger.name()
                client.sendmail(LOGIN, RECIPIENTS, ledger.octets(name))
                ledger.accepted.add(name)
        if not patient:
            return
        over.wait(0.2)


@contextmanager
def clients(gateway: GatewayProcess, ledger: Ledger, *, patient: bool = False) -> Iterator[None]:
    over = threading.Event()
    threads = [
        threading.Thread(target=_client, args=(gateway, ledger, over), kwargs={"patient": patient}) for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(90.0)  # a reply is waited for a minute
    assert not any(thread.is_alive() for thread in threads)


def stored(gateway: GatewayProcess, recipient: str) -> Counter[str]:
    """How often each message is in a Maildir; each that is there must be whole."""
    found: Counter[str] = Counter()
    for path in (gateway.at.mail / recipient / "new").glob("*"):
        octets = path.read_bytes()
        assert octets.endswith(b"last line\n"), path
        name = NAME.search(octets)
        assert name
        found[name[1].decode()] += 1
    return found


def ends_empty(gateway: GatewayProcess) -> None:
    """Nothing is left in the queue, and no leases of the dead hold anything."""

    def empty() -> bool:
        text = gateway.get("/metrics")[1]
        return all(
            f'smtp_gateway_queue_recipients{{state="{state}"}} 0.0' in text for state in ("queued", "deferred", "active")
        )

    until(empty, lambda: f"{gateway.get('/metrics')[1]}\n{gateway.story()}")
    assert gateway.stop() == 0
