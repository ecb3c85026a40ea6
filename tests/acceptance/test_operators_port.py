"""The operators' port under attack: what is sent there takes neither time nor memory from the mail."""

import socket
from contextlib import ExitStack, suppress

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.wire import greeted

MOST_MEMORY = 30_000_000  # octets that an attack may add
HOST = b"Host: gateway\r\n"
MULTIPART = b"POST /metrics HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; boundary=b\r\n"
FORM = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\n"


def connected(gateway: GatewayProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.http), timeout=60)


def sent(gateway: GatewayProcess, header: bytes, block: bytes, most: int) -> bytes:
    """Send `block` again and again, `most` octets at the most; the answer."""
    with connected(gateway) as wire:
        with suppress(OSError):  # the gateway does not read it
            wire.sendall(header)
            wire.settimeout(5)
            for _ in range(most // len(block)):
                wire.sendall(block)
        answer = b""
        with suppress(ConnectionResetError):
            while part := wire.recv(4096):
                answer += part
    return answer


@pytest.mark.parametrize(
    ("header", "block", "most"),
    [
        pytest.param(
            MULTIPART + b"Content-Length: 4000000\r\n\r\n",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n',
            4_000_000,
            id="multipart",
        ),
        pytest.param(FORM + b"Content-Length: 100000000\r\n\r\n", b"a=" + b"%41" * 30000, 100_000_000, id="field"),
        pytest.param(
            FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n", 100_000_000, id="endless"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n", b"x" * 65536, 100_000_000, id="get"),
    ],
)
def test_a_body_is_refused_unread(install: Install, header: bytes, block: bytes, most: int) -> None:
    gateway = install().start()
    before = gateway.memory()
    with greeted(gateway) as smtp:
        assert sent(gateway, header, block, most).startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 413 "))
        assert smtp.command("NOOP").code == 250
    assert gateway.memory() - before < MOST_MEMORY
    assert gateway.get("/healthz")[0] == 200


def test_silent_connections_keep_no_scraper_out(install: Install) -> None:
    gateway = install().start()
    with ExitStack() as open_ones:
        for _ in range(400):
            open_ones.enter_context(connected(gateway)).sendall(b"GET /metrics HTTP/1.1\r\nHost: gate")
        assert gateway.get("/metrics")[0] == 200
        with greeted(gateway) as smtp:
            assert smtp.command("NOOP").code == 250
