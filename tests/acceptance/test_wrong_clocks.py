"""Machines whose wall clocks are days apart, and step: the store's clock rules, so no mail is late and no lease runs out."""

import email.utils
import struct
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD, require_program
from tests.acceptance.ledger import ends_empty
from tests.acceptance.mail import message
from tests.acceptance.shared_store import SharedStore, shared_store
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire

__all__ = ["shared_store"]
DAYS = 86400
OFF = 2 * DAYS
NEAR = DAYS  # seconds between two dates that are of the same clock, on a machine however slow


class WrongClock:
    """For one gateway; `file` says how wrong, and may be changed at any time."""

    def __init__(self, library: Path, file: Path, seconds: int) -> None:
        self._file = file
        file.write_bytes(bytes(16))
        self.set(seconds)
        self.under = ("env", f"LD_PRELOAD={library}", f"WRONG_CLOCK={file}")

    def set(self, seconds: int) -> None:
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", seconds))

    def put_forward(self, seconds: int) -> None:
        """The clock that durations are measured by."""
        with self._file.open("r+b") as file:
            file.seek(8)
            file.write(struct.pack("=q", seconds))


@pytest.fixture(scope="session")
def wrong_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    library = tmp_path_factory.mktemp("wrong_clock") / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    command = [require_program("cc"), "-shared", "-fPIC", "-O2", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def _submit(gateway: GatewayProcess, name: str) -> None:
    with Wire(gateway.starttls) as wire:  # no TLS: a client would have to believe in certificates of another day
        assert wire.reply().code == 220
        assert wire.command("EHLO test.example").code == 250
        assert wire.sign_in(LOGIN, PASSWORD).code == 235
        wire.envelope(f"{name}@example.net")
        assert wire.data(message(name)).code == 250


def _started(gateway: GatewayProcess) -> float:
    """When, by its own clock: log lines have that one's dates."""
    return datetime.fromisoformat(gateway.logged("started")[0]["timestamp"]).timestamp()


def _dates(smarthost: Smarthost) -> list[float]:
    """When the gateways say that they have received what has arrived."""
    received = [str(delivery.message["Received"]).rpartition(";")[2] for delivery in smarthost.deliveries]
    return [email.utils.parsedate_to_datetime(date).timestamp() for date in received]


def test_no_date_and_no_lease_is_moved(
    shared_store: SharedStore, smarthost: Smarthost, wrong_clock: Path, tmp_path: Path
) -> None:
    listen = [{"port": 0, "security": "none", "allow_plaintext_auth": True}]
    relay = {"next_hop": [smarthost.url], "retry": ["1s"]}
    clocks = [WrongClock(wrong_clock, tmp_path / f"wrong-{off}", off) for off in (OFF, -OFF)]
    gateways = [shared_store.machine(listen=listen, relay=relay) for _ in clocks]
    for gateway, clock in zip(gateways, clocks, strict=True):
        gateway.under = clock.under
        gateway.start()
    first, second = (_started(gateway) for gateway in gateways)
    assert first - second > 3 * DAYS  # the library does its work

    for number, gateway in enumerate(gateways):
        smarthost.faults[b"RCPT"] = b"451 4.3.0 later\r\n"
        _submit(gateway, f"deferred{number}")
        until(lambda: not smarthost.faults, gateway.story)
    clocks[0].set(-2 * OFF)  # a step, backwards
    clocks[1].set(2 * OFF)
    for number, gateway in enumerate(gateways):
        _submit(gateway, f"after{number}")
    until(lambda: len(smarthost.deliveries) == 4, lambda: "\n".join(gateway.story() for gateway in gateways))

    rows = shared_store.database.run("SELECT accepted, extract(epoch from clock_timestamp()) FROM message")
    assert all(abs(float(now) - float(accepted)) < NEAR for accepted, now in rows)
    assert all(abs(float(rows[0][1]) - date) < NEAR for date in _dates(smarthost))
    for gateway in gateways:
        assert not gateway.logged("mail of gateways that died was taken over")
        assert shared_store.count("process") == 2
    for gateway in gateways:
        ends_empty(gateway)
