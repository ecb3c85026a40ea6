"""An SMTP client on a bare socket: what it sends is exactly what the test says, and every reply is looked at."""

import base64
import contextlib
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.waiting import PATIENCE

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Reply:
    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def head(self) -> str:
        """Code and enhanced code: "535 5.7.8"."""
        return f"{self.code} {self.lines[0].split(' ')[0]}"


class Wire:
    """One connection; the greeting is the first `reply()`. `source` is our own address: any of 127.0.0.0/8, or ::1."""

    def __init__(self, port: int, *, source: str = HERE, receive_buffer: int | None = None) -> None:
        six = ":" in source
        self.sock: socket.socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.bind((source, 0))
        self.sock.connect(("::1" if six else "127.0.0.1", port))
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def reply(self) -> Reply:
        """The next reply, complete. Raises EOFError at the end of the connection."""
        lines = []
        while True:
            line = self._line()
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), tuple(lines))

    def command(self, text: str) -> Reply:
        self.send(text.encode() + b"\r\n")
        return self.reply()

    def rest(self) -> bytes:
        """Everything until the other end closes."""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while block := self.sock.recv(65536):
                self._buffer += block
        return self._buffer

    def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        """The handshake; what came in clear is forgotten."""
        self._buffer = b""
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def sign_in(self, login: str = LOGIN, password: str = PASSWORD) -> Reply:
        return self.command("AUTH PLAIN " + plain(login, password))

    def envelope(self, *recipients: str, sender: str = LOGIN, options: str = "") -> None:
        """MAIL and RCPTs, each with its 250."""
        for text in (f"MAIL FROM:<{sender}>{options}", *(f"RCPT TO:<{recipient}>" for recipient in recipients)):
            said = self.command(text)
            assert said.code == 250, said

    def data(self, message: bytes) -> Reply:
        """DATA with a whole message, dots stuffed here; the final reply."""
        assert self.command("DATA").code == 354
        self.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.reply()

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            block = self.sock.recv(65536)
            if not block:
                raise EOFError(f"the connection ended; last heard {self._buffer!r}")
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("utf-8")


def plain(login: str, password: str) -> str:
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode("ascii")


def greeted(gateway: GatewayProcess, source: str = HERE) -> Wire:
    """A session with STARTTLS done and EHLO said, not signed in."""
    wire = Wire(gateway.starttls, source=source)
    assert wire.reply().code == 220
    assert wire.command("EHLO test.example").code == 250
    assert wire.command("STARTTLS").code == 220
    wire.start_tls(gateway.context())
    assert wire.command("EHLO test.example").code == 250
    return wire


def attempt(gateway: GatewayProcess, login: str = LOGIN, password: str = PASSWORD, source: str = HERE) -> Reply:
    """What a session of its own is told."""
    with greeted(gateway, source) as wire:
        return wire.sign_in(login, password)


def signed_in(gateway: GatewayProcess, login: str = LOGIN, password: str = PASSWORD) -> Wire:
    wire = greeted(gateway)
    said = wire.sign_in(login, password)
    assert said.code == 235, said
    return wire
