"""Hostile clients: each gets its reply or is cut, the gateway serves the others meanwhile, and its memory does not grow."""

import contextlib
import socket
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.mail import message, submit, until_arrived
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, greeted, signed_in

MIB = 1 << 20
ROOM = 20 * MIB  # what the gateway may grow by under any of these


def hello(gateway: GatewayProcess) -> Wire:
    """In clear, EHLO said."""
    wire = Wire(gateway.starttls)
    wire.reply()
    wire.command("EHLO test.example")
    return wire


def flood(wire: Wire, octets: bytes, total: int) -> int:
    """Send `octets` again and again without reading, up to `total`; how many went before the other end stopped taking."""
    sent = 0
    wire.sock.settimeout(1.5)
    with contextlib.suppress(TimeoutError, OSError):
        while sent < total:
            sent += wire.sock.send(octets)
    return sent


def _bare_line_feed(gateway: GatewayProcess) -> None:
    for octets in (b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"NO\0OP\r\n"):
        with hello(gateway) as wire:
            wire.send(octets)
            assert wire.reply().head == "421 4.5.2"
            assert wire.rest() == b""


def _thousand_noops(gateway: GatewayProcess) -> None:
    with hello(gateway) as wire:
        wire.send(b"NOOP\r\n" * 1000)
        said = wire.rest().decode().splitlines()
        assert 10 < len(said) < 1000
        assert {line[:3] for line in said[:-1]} == {"250"}
        assert said[-1].startswith("421 4.7.0")


def _giant_line(gateway: GatewayProcess) -> None:
    with hello(gateway) as wire:
        flood(wire, b"x" * 65536, 40 * MIB)
    with hello(gateway) as wire:
        wire.send(b"NOOP " + b"x" * 20_000 + b"\r\nNOOP\r\n")
        assert wire.reply().head == "500 5.5.6"
        assert wire.reply().code == 250


def _giant_line_in_a_message(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("line@example.net")
        assert wire.data(message("line", body=b"x" * (8 * MIB) + b"\r\n")).code == 250
    until_arrived(gateway, "line@example.net")


def _giant_header(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        assert wire.data(message(extra=b"X-Long: " + b"y" * (20 * MIB) + b"\r\n")).head == "554 5.6.0"
        wire.envelope("bob@example.net")
        assert wire.data(message(extra=b"X: y\r\n" * (2 * MIB))).head == "554 5.6.0"


def _never_reads(gateway: GatewayProcess) -> None:
    """Replies that nobody takes: the gateway must stop reading, and not pile them up."""
    wire = Wire(gateway.starttls, receive_buffer=4096)
    with wire:
        wire.reply()
        wire.command("EHLO test.example")
        assert wire.command("STARTTLS").code == 220
        wire.start_tls(gateway.context())
        wire.command("EHLO test.example")
        assert wire.sign_in().code == 235
        wire.envelope("bob@example.net")
        sent = flood(wire, b"RCPT TO:<bob@example.net>\r\n" * 1000, 200 * MIB)
        assert sent < 100 * MIB, "it took everything, though nobody read its replies"
        submit(gateway, message("meanwhile"), "meanwhile@example.net")
        until_arrived(gateway, "meanwhile@example.net")


def _garbage_handshakes(gateway: GatewayProcess) -> None:
    failures = sum(map(_garbage, [gateway.tls] * 20))
    assert failures == 20
    with hello(gateway) as wire:
        assert wire.command("STARTTLS").code == 220
        wire.send(b"\x16\x03\x01\xff\xff" + b"garbage" * 1000)
        assert b"250" not in wire.rest()
    until(lambda: 'tls_handshakes_total{result="failed",version="none"} 21.0' in gateway.get("/metrics")[1], gateway.story)


def _garbage(port: int) -> bool:
    """Whether a connection that speaks no TLS is ended."""
    with Wire(port) as wire:
        wire.send(b"EHLO not.tls\r\n" * 100)
        return b"220" not in wire.rest()


def _huge_chunk(gateway: GatewayProcess) -> None:
    with greeted(gateway) as wire:  # not signed in: refused, and what was announced is read away, not run
        wire.send(b"BDAT 600000\r\n" + b"NOOP\r\n" * 100_000 + b"RSET\r\n")
        assert wire.reply().head == "530 5.7.0"
        assert wire.reply().code == 250
        wire.send(b"BDAT 99999999999999999999999\r\n")
        assert wire.reply().code == 501
        assert wire.rest() == b""


def _rude_ends(gateway: GatewayProcess) -> None:
    """Connections reset in the middle of everything."""
    for _ in range(10):
        wire = signed_in(gateway)
        wire.envelope("never@example.net")
        wire.command("DATA")
        wire.send(message("never")[:-20])
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
    until(lambda: _open_sessions(gateway) == 1, gateway.story)  # the one that is served meanwhile
    assert not (gateway.at.mail / "never@example.net").exists()


def _open_sessions(gateway: GatewayProcess) -> float:
    lines = gateway.get("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("smtp_gateway_connections{"))


ATTACKS: list[Callable[[GatewayProcess], None]] = [
    _bare_line_feed,
    _thousand_noops,
    _giant_line,
    _giant_line_in_a_message,
    _giant_header,
    _never_reads,
    _garbage_handshakes,
    _huge_chunk,
    _rude_ends,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__.strip("_"))
def test_an_attack_is_answered_and_others_are_served(gateway: GatewayProcess, attack: Callable[[GatewayProcess], None]) -> None:
    with signed_in(gateway) as other:
        other.envelope("warm@example.net")
        other.data(message("warm", body=b"z" * 100_000 + b"\r\n"))
        until_arrived(gateway, "warm@example.net")
        before = gateway.memory("VmHWM")
        attack(gateway)
        grown = gateway.memory("VmHWM") - before
        assert grown < ROOM, f"grew by {grown / MIB:.1f} MiB"
        other.envelope("good@example.net")
        assert other.data(message("good")).code == 250
    until_arrived(gateway, "good@example.net")
    assert not gateway.logged("unexpected error"), gateway.story()


def test_too_many_connections_are_told_so(install: Install) -> None:
    gateway = install(limits={"connections_per_network": 5}).start()
    wires = [Wire(gateway.starttls) for _ in range(5)]
    assert {wire.reply().code for wire in wires} == {220}
    with Wire(gateway.starttls) as sixth:
        assert sixth.reply().head == "421 4.7.0"
        assert sixth.rest() == b""
    with Wire(gateway.tls) as seventh:  # it waits for a handshake: an answer in clear would be noise
        assert seventh.rest() == b""
    assert gateway.until_logged("connection refused", 2)[0]["why"] == "too_many_of_network"
    for wire in wires:
        wire.close()
    until(lambda: _is_let_in(gateway), gateway.story)


def _is_let_in(gateway: GatewayProcess) -> bool:
    with Wire(gateway.starttls) as wire:
        return wire.reply().code == 220
