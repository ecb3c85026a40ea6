"""The smarthost dies and comes back: everything that was accepted arrives, and nobody is sent a report about it."""

import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.free_port import free_port
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, require_program
from tests.acceptance.mail import message, session
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until

MESSAGES = 30


class Sink:
    """Postfix's smtp-sink, which writes each message it takes into a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.program = require_program("smtp-sink")
        self.folder = folder
        folder.mkdir()
        shutil.chown(folder, "nobody")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> Self:
        command = [self.program, "-c", "-u", "nobody", "-R", str(self.folder), "-d", "%M.", f"127.0.0.1:{self.port}", "100"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, "smtp-sink answers")
        return self

    def down(self) -> None:
        """At once, in the middle of whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def names(self) -> Counter[str]:
        """The Message-IDs of complete messages, with how often each came."""
        texts = [path.read_bytes() for path in self.folder.iterdir()]
        return Counter(
            found[1].decode() for text in texts if (found := re.search(rb"Message-ID: <([^@]+)@", text, re.IGNORECASE))
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    made = Sink(tmp_path / "sink")
    yield made
    made.down()


def _send(gateway: GatewayProcess, first: int, count: int) -> None:
    with session(gateway) as client:
        for number in range(first, first + count):
            client.sendmail(LOGIN, ["bob@example.net"], message(f"m{number}"))


def test_smtp_sink_is_killed_and_comes_back(install: Install, sink: Sink) -> None:
    gateway = install(relay={"next_hop": [f"smtp://127.0.0.1:{sink.port}?tls=none"], "retry": ["1s"]}).start()
    sink.up()
    _send(gateway, 0, 10)
    until(lambda: sink.names(), gateway.story)  # some are through
    sink.down()
    _send(gateway, 10, 10)
    assert gateway.until_logged("hop down")
    sink.up()
    _send(gateway, 20, 10)
    expected = {f"m{number}" for number in range(MESSAGES)}
    until(lambda: set(sink.names()) == expected, gateway.story)
    gateway.until_logged("delivered", MESSAGES)
    gateway.until_logged("hop up")
    assert "smtp_gateway_reports_total{" not in gateway.get("/metrics")[1]
    twice = sum(count - 1 for count in sink.names().values())
    assert twice <= len(gateway.logged("final reply lost"))


def test_a_smarthost_that_was_down_for_a_restart_of_ours(install: Install, smarthost: Smarthost) -> None:
    """Accepted while the smarthost is down, and then we stop and start, too."""
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    smarthost.down()
    _send(gateway, 0, 10)
    gateway.until_logged("hop down")
    assert gateway.stop() == 0
    gateway.start()
    smarthost.up()
    until(lambda: len(smarthost.received("bob@example.net")) >= 10, gateway.story)
    gateway.until_logged("delivered", 10)
    arrivals = Counter(str(delivery.message["Message-ID"]) for delivery in smarthost.deliveries)
    assert arrivals == Counter({f"<m{number}@test.example>": 1 for number in range(10)})


def test_a_lost_final_reply_means_again_and_not_a_report(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b".": b""}
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["500ms"]}).start()
    _send(gateway, 0, 1)
    gateway.until_logged("final reply lost")
    smarthost.replies = {}
    gateway.until_logged("delivered")
    assert len(smarthost.received("bob@example.net")) == 1 + len(gateway.logged("final reply lost"))
    assert not [delivery for delivery in smarthost.deliveries if delivery.sender == ""]


def test_the_second_next_hop_takes_over(install: Install, smarthost: Smarthost) -> None:
    with Smarthost() as first:
        gateway = install(relay={"next_hop": [first.url, smarthost.url], "retry": ["1s"]}).start()
        _send(gateway, 0, 3)
        gateway.until_logged("delivered", 3)  # what has arrived, but whose reply is cut off, would come again
        assert len(first.deliveries) == 3
        first.down()
        _send(gateway, 3, 3)
        until(lambda: len(smarthost.deliveries) == 3, gateway.story)
        first.up()
        until(lambda: _reaches(gateway, first), gateway.story)


def _reaches(gateway: GatewayProcess, hop: Smarthost) -> bool:
    before = len(hop.deliveries)
    _send(gateway, 100 + len(gateway.logged("accepted")), 1)  # another one each time, or it would be known for sent again
    gateway.until_logged("delivered", len(gateway.logged("accepted")))
    return len(hop.deliveries) > before
