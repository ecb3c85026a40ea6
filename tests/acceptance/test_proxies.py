"""Behind a proxy that speaks the PROXY protocol, the running program counts clients by their own addresses.

The proxy is a client at an address of loopback that is trusted; what it forwards comes right behind its header.
"""

import json
import re

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import Settings, run_tool
from tests.acceptance.mail import message, submit, until_arrived
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, attempt
from tests.proxy_header import LOCAL, version1, version2

PROXY = "127.0.9.1"
PROXIES = ["127.0.9.0/24"]
BEHIND: Settings = {
    "listen": [{"port": 0, "security": security, "proxy_protocol_from": PROXIES} for security in ("starttls", "tls")],
    "server": {"hostname": "gateway.example", "hide_client": False},
}
GUESSER, NEIGHBOUR, OTHER = "203.0.113.5", "203.0.113.6", "2001:db8:5::1"


@pytest.fixture
def behind(install: Install) -> GatewayProcess:
    return install(BEHIND).start()


def forwarded(gateway: GatewayProcess, header: bytes) -> Wire:
    """A session with TLS and EHLO, by way of STARTTLS."""
    wire = Wire(gateway.starttls, source=PROXY)
    wire.send(header + b"EHLO test.example\r\n")
    assert wire.reply().code == 220
    assert wire.reply().code == 250
    assert wire.command("STARTTLS").code == 220
    wire.start_tls(gateway.context())
    assert wire.command("EHLO test.example").code == 250
    return wire


def signs_in(gateway: GatewayProcess, header: bytes) -> int:
    with forwarded(gateway, header) as wire:
        return wire.sign_in().code


def test_clients_of_one_proxy_are_locked_out_each_by_itself(behind: GatewayProcess) -> None:
    for half in (range(3), range(3, 5)):  # a session ends with its third failure
        with forwarded(behind, version1(GUESSER)) as wire:
            assert {wire.sign_in(password=f"guess {number}").code for number in half} == {535}
    assert signs_in(behind, version1(GUESSER)) == signs_in(behind, version2(GUESSER)) == 454
    for header in (version1(NEIGHBOUR), version2(NEIGHBOUR), version1(OTHER), version2(OTHER), LOCAL):
        assert signs_in(behind, header) == 235
    assert attempt(behind).code == 235  # not through the proxy
    listed = json.loads(run_tool(behind.at.folder, "lockouts", "list", "--json").stdout)
    assert [one["network"] for one in listed] == [f"{GUESSER}/32"]
    networks = {line["network"] for line in behind.logged("sign-in")}
    assert networks == {f"{GUESSER}/32", f"{NEIGHBOUR}/32", "2001:db8:5::/64", f"{PROXY}/32", "127.0.0.1/32"}


@pytest.mark.parametrize("header", [version1(OTHER), version2(OTHER, b"\x20\x00\x02ab")], ids=["version 1", "version 2"])
def test_the_header_stands_before_implicit_tls_and_the_client_in_received(behind: GatewayProcess, header: bytes) -> None:
    with Wire(behind.tls, source=PROXY) as wire:
        wire.send(header)
        wire.start_tls(behind.context())
        assert wire.reply().code == 220
        assert wire.command("EHLO test.example").code == 250
        assert wire.sign_in().code == 235
        wire.envelope("bob@example.net")
        assert wire.data(message("forwarded")).code == 250
    [arrived] = until_arrived(behind, "bob@example.net")
    received = re.search(rb"^Received:.*(?:\r?\n[ \t].*)*", arrived, re.MULTILINE)
    assert received is not None
    assert f"[IPv6:{OTHER}]".encode() in received[0]
    assert PROXY.encode() not in received[0]


def test_nobody_else_is_believed(behind: GatewayProcess) -> None:
    with Wire(behind.starttls) as wire:
        assert wire.reply().code == 220
        wire.send(version1(NEIGHBOUR))
        assert wire.reply().head == "500 5.5.2"
    with Wire(behind.starttls) as wire:
        assert wire.reply().code == 220
        wire.send(version2(NEIGHBOUR))
        assert wire.rest().splitlines()[-1].startswith(b"421 4.5.2 ")
    assert attempt(behind).code == 235
    assert {line["network"] for line in behind.logged("sign-in")} == {"127.0.0.1/32"}


def test_a_proxy_without_a_header_gets_no_greeting_and_its_places_come_back(install: Install) -> None:
    gateway = install(BEHIND, limits={"connections": 5}).start()
    silent = [Wire(gateway.starttls, source=PROXY) for _ in range(5)]
    silent[0].send(b"PROX")
    assert [wire.rest() for wire in silent] == [b""] * 5
    until(lambda: _greeting(gateway) == b"220", gateway.story)
    [line] = gateway.logged("proxy refused")
    assert (line["proxy"], line["level"]) == (PROXY, "warning")
    assert gateway.figure("connections_total", result="proxy_refused") == 5
    submit(gateway, message("after"), "after@example.net")
    until_arrived(gateway, "after@example.net")


def _greeting(gateway: GatewayProcess) -> bytes:
    with Wire(gateway.starttls) as wire:
        wire.send(b"QUIT\r\n")
        return wire.rest()[:3]
