"""A long queue slows nobody: a gateway starts with it, takes mail beside it, and operators work on it."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.conftest import Install
from tests.acceptance.installation import run_tool
from tests.acceptance.mail import message
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.wire import Wire, signed_in

LONG = 100_000
ROOM = 40 << 20  # octets that it may need more than with an empty queue; the rows alone are many times as much
FIRST = f"{1:016d}"


def fill(store: Path) -> None:
    """Mail that waits for its next attempt, an hour from now."""
    connection = sqlite3.connect(store)
    with connection:
        connection.execute(
            """
            WITH RECURSIVE k(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM k WHERE n < ?)
            INSERT INTO message (id, account_id, sender, eight_bit, smtputf8, ret, envid, accepted, body_size, header, body)
            SELECT printf('%016d', n), '1', 'ann@example.com', 0, 0, '', '', unixepoch(), 1000, zeroblob(500),
                   zeroblob(1000) FROM k
            """,
            [LONG],
        )
        connection.execute(
            """
            INSERT INTO recipient (message_id, position, address, domain, field, state, attempts, next_attempt, notify, orcpt,
                                   delay_warned, code, enhanced, text, hop)
            SELECT id, 0, 'bob@example.net', 'example.net', 'to', 'queued', 1, unixepoch() + 3600, '', '', 0, 451, '', '', ''
            FROM message WHERE id < 'A' AND length(header) = 500
            """
        )
    connection.close()


def send(wire: Wire, name: str) -> int:
    wire.envelope("bob@example.net")
    return wire.data(message(name)).code


def test_a_long_queue(install: Install, smarthost: Smarthost) -> None:
    smarthost.down()
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    with signed_in(gateway) as wire:
        assert send(wire, "before") == 250
    gateway.figure("queue_recipients")
    empty = gateway.memory("VmHWM")
    assert gateway.stop() == 0

    fill(gateway.at.state / "gateway.db")
    gateway.start()
    with signed_in(gateway) as wire, ThreadPoolExecutor(1) as operator:
        assert send(wire, "beside") == 250
        assert gateway.figure("queue_recipients") == LONG + 2
        retried = operator.submit(run_tool, gateway.at.folder, "queue", "retry", "--all")
        meanwhile = [send(wire, "meanwhile")]
        while not retried.done():
            meanwhile.append(send(wire, f"m{len(meanwhile)}"))
        assert set(meanwhile) == {250}
        assert int(retried.result().stdout.split()[0]) >= LONG
        for act in ("hold", "release", "show", "delete"):
            done = run_tool(gateway.at.folder, "queue", act, FIRST)
            assert done.returncode == 0, done.stderr
        assert FIRST not in run_tool(gateway.at.folder, "queue", "list", "--limit", "2").stdout
        assert send(wire, "after") == 250
    assert gateway.memory("VmHWM") - empty < ROOM
    smarthost.up()
    gateway.until_logged("delivered", 50)
