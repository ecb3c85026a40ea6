"""What one client types at AUTH fails nobody else's sign-in, whatever the store's database can hold."""

import base64
import threading
from contextlib import suppress

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.mail import session
from tests.acceptance.shared_store import SharedStore
from tests.acceptance.waiting import PATIENCE
from tests.acceptance.wire import greeted
from tests.servers.databases import Postgresql

LATIN1 = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
NAMES = [
    b"\0",
    b"nul\0@example.com",
    "日本@example.com".encode(),
    b"\xff\xfe@example.com",
    "ł@example.com".encode(),
    b"x" * 254,
]
SIGN_INS = 40


@pytest.fixture(params=["", LATIN1], ids=["utf8", "latin1"])
def gateway(request: pytest.FixtureRequest, postgresql: Postgresql, install: Install) -> GatewayProcess:
    store = SharedStore(postgresql, install)
    store.database = postgresql.database(request.param)
    return store.machine(limits={"hash_wait": "60s"}, lockout={"allow": ["127.0.0.0/8"], "delay": "10ms"}).start()


def guess(gateway: GatewayProcess, stop: threading.Event, replies: list[int]) -> None:
    """Three odd names a session, again and again."""
    while not stop.is_set():
        with suppress(OSError, EOFError), greeted(gateway) as wire:
            for name in NAMES:
                wire.command("AUTH LOGIN")
                wire.command(base64.b64encode(name).decode())
                replies.append(wire.command(base64.b64encode(b"secret").decode()).code)


def test_odd_names_at_sign_in_fail_no_other_sign_in(gateway: GatewayProcess) -> None:
    stop = threading.Event()
    replies: list[list[int]] = [[] for _ in range(4)]
    guessers = [threading.Thread(target=guess, args=(gateway, stop, mine)) for mine in replies]
    for each in guessers:
        each.start()
    try:
        for _ in range(SIGN_INS):
            session(gateway).quit()
    finally:
        stop.set()
        for each in guessers:
            each.join(PATIENCE)
    heard = {code for mine in replies for code in mine}
    assert 501 in heard
    assert 535 in heard
    assert heard <= {501, 535}
