"""A client that lost our 250 sends its message again: one delivery, one charge, and the queue id of the first."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest

from tests.acceptance.commands import read
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message
from tests.acceptance.sharing import Pair, two_that_share_a_store
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Reply, Wire, signed_in

RECIPIENTS = ("bob@example.net", "blind@example.net")  # each in a transaction of its own: the message names bob
SMALL = message("same")
LINE = b"y" * 70 + b"\r\n"
LARGE = message("same", body=LINE * 2000)  # a file in the spool


@pytest.fixture
def gateway(install: Install, smarthost: Smarthost) -> GatewayProcess:
    return install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()


def upload(wire: Wire, octets: bytes) -> None:
    """All of a message but its end."""
    wire.envelope(*RECIPIENTS)
    assert wire.command("DATA").code == 354
    wire.send(octets.replace(b"\r\n.", b"\r\n.."))


def lose_reply(gateway: GatewayProcess, octets: bytes) -> str:
    """Send it, and be gone once it is accepted, without having read that; its queue id."""
    with signed_in(gateway) as wire:
        upload(wire, octets)
        wire.send(b".\r\n")
        (line,) = gateway.until_logged("accepted")
    return str(line["queue_id"])


def send(gateway: GatewayProcess, octets: bytes) -> Reply:
    with signed_in(gateway) as wire:
        upload(wire, octets)
        wire.send(b".\r\n")
        return wire.reply()


def assert_once(gateway: GatewayProcess, smarthost: Smarthost, messages: int = 1) -> None:
    """All that came in was delivered and charged once, and nothing is left."""
    until(lambda: read(gateway, "queue", "list") == [], gateway.story)
    for recipient in RECIPIENTS:
        assert len(smarthost.received(recipient)) == messages
    shown = read(gateway, "usage", "show", LOGIN)
    assert (shown["used"], shown["days"][0]["messages"]) == (messages * len(RECIPIENTS), messages)
    until(lambda: not spooled(gateway), gateway.story)  # a body goes after its row


def spooled(gateway: GatewayProcess) -> list[Path]:
    return [path for path in (gateway.at.state / "spool").rglob("*") if path.is_file()]


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
def test_its_250_was_lost(gateway: GatewayProcess, smarthost: Smarthost, octets: bytes) -> None:
    first = lose_reply(gateway, octets)
    for _ in range(2):
        assert send(gateway, octets) == Reply(250, (f"2.0.0 Accepted as {first}",))
    assert_once(gateway, smarthost)
    assert send(gateway, octets).text.endswith(first)  # delivered by now
    assert_once(gateway, smarthost)
    assert [line["queue_id"] for line in gateway.logged("sent again, and taken only once")] == [first] * 3
    assert gateway.figure("messages_total", result="duplicate") == 3
    assert gateway.figure("messages_total", result="accepted") == gateway.figure("recipients_total", field="to") == 1


@pytest.mark.parametrize("action", ["reject", "suspend"])
def test_it_had_used_up_the_day(install: Install, smarthost: Smarthost, action: str) -> None:
    """What is charged already is not refused when it comes again, and suspends nobody."""
    limits = {"daily_recipients": len(RECIPIENTS), "on_daily_limit": action}
    gateway = install(relay={"next_hop": [smarthost.url]}, limits=limits).start()
    first = lose_reply(gateway, SMALL)
    assert send(gateway, SMALL) == Reply(250, (f"2.0.0 Accepted as {first}",))
    assert read(gateway, "suspensions", "list") == []
    assert send(gateway, message("another")).head == "550 5.7.1"
    assert len(read(gateway, "suspensions", "list")) == (action == "suspend")
    assert_once(gateway, smarthost)


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
def test_the_gateway_was_killed_between(gateway: GatewayProcess, smarthost: Smarthost, octets: bytes) -> None:
    smarthost.down()
    first = lose_reply(gateway, octets)
    gateway.kill()
    gateway.start()
    assert send(gateway, octets) == Reply(250, (f"2.0.0 Accepted as {first}",))
    assert len(spooled(gateway)) == (octets is LARGE)
    smarthost.up()
    assert_once(gateway, smarthost)


def octets_of(name: str) -> bytes:
    """Every third is a file in the spool."""
    return message(name, body=LINE * (1500 if name.endswith(("0", "3", "6", "9")) else 1))


def names_sent(gateway: GatewayProcess, number: int) -> list[str]:
    """What a client has begun to send when the gateway dies."""
    names = []
    with contextlib.suppress(OSError, EOFError), signed_in(gateway) as wire:
        for turn in count():
            names.append(f"c{number}x{turn}")
            upload(wire, octets_of(names[-1]))
            wire.send(b".\r\n")
            assert wire.reply().code == 250
    return names


def test_the_gateway_was_killed_in_the_middle_of_many(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    """Whatever had become of a message, it comes once when all are sent again."""
    smarthost.down()
    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(names_sent, gateway, number) for number in range(8)]
        gateway.until_logged("accepted", 30)
        gateway.kill()
        names = [name for client in clients for name in client.result(60.0)]
        gateway.start()
        said = list(threads.map(lambda name: send(gateway, octets_of(name)), names))
    assert {each.code for each in said} == {250}
    assert len({each.text for each in said}) == len(names)
    assert len(gateway.logged("sent again, and taken only once")) >= 30
    smarthost.up()
    assert_each_once(gateway, smarthost, names)


def assert_each_once(gateway: GatewayProcess, smarthost: Smarthost, names: list[str]) -> None:
    until(lambda: read(gateway, "queue", "list") == [], gateway.story)
    wanted = sorted(f"<{name}@test.example>" for name in names)
    for recipient in RECIPIENTS:
        assert sorted(delivery.message["Message-ID"] for delivery in smarthost.received(recipient)) == wanted
    assert read(gateway, "usage", "show", LOGIN)["used"] == len(names) * len(RECIPIENTS)


def test_the_client_was_gone_with_its_final_dot(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    """Some are taken then, and some may not be."""
    names = [f"round{number}" for number in range(12)]
    for name in names:
        with signed_in(gateway) as wire:
            upload(wire, octets_of(name))
            wire.send(b".\r\n")
    for name in names:
        assert send(gateway, octets_of(name)).code == 250
    assert_each_once(gateway, smarthost, names)
    until(lambda: not spooled(gateway), gateway.story)  # a body goes after its row


@pytest.fixture
def pair(install: Install, smarthost: Smarthost) -> Pair:
    return two_that_share_a_store(install, {"relay": {"next_hop": [smarthost.url], "retry": ["1s"]}})


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
def test_twelve_at_once_at_two_gateways(pair: Pair, smarthost: Smarthost, octets: bytes) -> None:
    together = Barrier(12, timeout=60.0)

    def one(number: int) -> Reply:
        with signed_in(pair[number % 2]) as wire:
            upload(wire, octets)
            together.wait()
            wire.send(b".\r\n")
            return wire.reply()

    with ThreadPoolExecutor(12) as threads:
        told = set(threads.map(one, range(12)))
    (said,) = told
    (accepted,) = [line for gateway in pair for line in gateway.logged("accepted")]
    assert said == Reply(250, (f"2.0.0 Accepted as {accepted['queue_id']}",))
    assert sum(gateway.figure("messages_total", result="duplicate") for gateway in pair) == 11
    assert_once(pair[0], smarthost)
    until(lambda: not spooled(pair[1]), pair[1].story)
