"""A smarthost of our own, for faults: SMTP in plain threads, with replies to order, that can go down and come back."""

import contextlib
import email
import email.message
import email.policy
import socket
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.acceptance.free_port import free_port

_EHLO = b"250-smarthost.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE 0\r\n"
_USUAL = {b"EHLO": _EHLO, b"DATA": b"354 go\r\n", b"QUIT": b"221 2.0.0 bye\r\n"}


@dataclass(frozen=True)
class Delivery:
    """One message that got its 250, or would have."""

    mail: str  # the MAIL command, as it came
    rcpts: tuple[str, ...]  # the RCPT commands that were accepted
    data: bytes  # with CRLF, dots un-stuffed
    life: int  # what `Smarthost.life` was when its connection began

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(rcpt.partition("<")[2].partition(">")[0] for rcpt in self.rcpts)

    @property
    def sender(self) -> str:
        return self.mail.partition("<")[2].partition(">")[0]

    @property
    def message(self) -> email.message.EmailMessage:
        return email.message_from_bytes(self.data, policy=email.policy.default)


class Smarthost:
    """`replies`: for a command that starts so, this instead of what is usual; b"" closes the connection.

    The end of a message counts as the command b".".
    """

    def __init__(self) -> None:
        self.replies: Mapping[bytes, bytes] = {}
        self.life = 0
        self.deliveries: list[Delivery] = []
        self.port = free_port()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?tls=none"

    def up(self) -> None:
        """Listen, always on the same port."""
        self._server = _Server(("127.0.0.1", self.port), self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        """Stop listening, and cut every connection where it is."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    @property
    def connections(self) -> int:
        return len(self._server.open) if self._server else 0

    def reply(self, command: bytes) -> bytes:
        for start, said in self.replies.items():
            if command.startswith(start):
                return said
        return _USUAL.get(command[:4].upper(), b"250 2.0.0 ok\r\n")

    def received(self, recipient: str) -> list[Delivery]:
        return [delivery for delivery in list(self.deliveries) if recipient in delivery.recipients]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hop: Smarthost) -> None:
        self.hop = hop
        self.open: set[socket.socket] = set()
        super().__init__(address, _Session)

    def cut(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A cut connection is no news."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._life = self.server.hop.life
        self.server.open.add(self.request)

    def finish(self) -> None:
        self.server.open.discard(self.request)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        self.wfile.write(b"220 smarthost.example ESMTP\r\n")
        mail, rcpts = "", list[str]()
        while line := self.rfile.readline(8192):
            command = line.rstrip(b"\r\n")
            verb = command[:4].upper()
            said = self.server.hop.reply(command)
            if verb == b"DATA" and said[:1] == b"3" and not rcpts:
                said = b"554 5.5.1 no valid recipients\r\n"
            if not said:
                return
            self.wfile.write(said)
            good = said[:1] == b"2"
            if verb == b"MAIL" and good:
                mail, rcpts = command.decode(), []
            elif verb == b"RCPT" and good:
                rcpts.append(command.decode())
            elif verb == b"QUIT" or (verb == b"DATA" and said[:1] == b"3" and not self._message(mail, rcpts)):
                return

    def _message(self, mail: str, rcpts: list[str]) -> bool:
        """Read to the final dot and answer it; False when the connection ends there."""
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        said = self.server.hop.reply(b".")
        if said[:1] in (b"2", b""):
            self.server.hop.deliveries.append(Delivery(mail, tuple(rcpts), b"".join(lines), self._life))
        self.wfile.write(said)
        return bool(said)
