"""What one client types at AUTH fails nobody else's sign-in, whatever the store's database can hold."""

import base64
import threading
from contextlib import suppress

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.mail import session
from tests.acceptance.shared_store import SharedStore
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import PATIENCE, until
from tests.acceptance.wire import greeted, signed_in
from tests.servers.databases import Postgresql
from tests.stores import LATIN1

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


def test_a_hop_s_reply_that_the_store_cannot_hold_stops_no_delivery(
    postgresql: Postgresql, install: Install, smarthost: Smarthost
) -> None:
    """One such reply once kept everything else in the queue, and its message went out again after a restart."""
    store = SharedStore(postgresql, install)
    store.database = postgresql.database(LATIN1)
    smarthost.faults = {b".": "250 2.0.0 angenommen \u2713\r\n".encode()}
    gateway = store.machine(relay={"next_hop": [smarthost.url]}).start()
    people = [f"you{number}@example.net" for number in range(5)]
    for person in people:
        with signed_in(gateway) as wire:
            wire.envelope(person)
            assert wire.data(b"From: ann@example.com\r\nTo: %b\r\n\r\nhi\r\n" % person.encode()).code == 250
    until(lambda: store.count("recipient", "state = 'delivered'") == len(people), gateway.story)
    assert sorted(one.recipients[0] for one in smarthost.deliveries) == people
