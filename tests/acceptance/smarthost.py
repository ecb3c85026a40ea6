"""A smarthost of our own, for faults: SMTP in plain threads, with replies to order, that can go down and come back."""

import contextlib
import email
import email.message
import email.policy
import socket
import socketserver
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.acceptance.free_port import free_port

SILENCE = b"<silence>"  # to DATA: until the test says 354
_USUAL = {
    b"GREETING": b"220 smarthost.example ESMTP\r\n",
    b"STARTTLS": b"220 2.0.0 go\r\n",
    b"AUTH": b"235 2.7.0 in\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


@dataclass(frozen=True)
class Delivery:
    """One message that got its 250, or would have."""

    mail: str  # the MAIL command, as it came
    rcpts: tuple[str, ...]  # the RCPT commands that were accepted
    data: bytes  # with CRLF, dots un-stuffed
    life: int  # what `Smarthost.life` was when its connection began
    encrypted: bool

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
    """`replies`: for a command that starts so, this instead of what is usual; b"" closes the connection, SILENCE says nothing.

    A new connection counts as the command b"GREETING", the first line of a message as b"BODY" (which has no usual reply),
    its end as b".". `faults` are replies, too, that are given once. STARTTLS is offered with `tls`, or with one of
    `bad_tls`, each for one connection; octets there are said instead of a handshake.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.replies: Mapping[bytes, bytes] = {}
        self.faults: dict[bytes, bytes] = {}
        self.extensions = ["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 0"]
        self.tls: ssl.SSLContext | None = None
        self.bad_tls: list[ssl.SSLContext | bytes] = []
        self.life = 0
        self.greeted = 0  # connections so far
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
        return f"smtp://{self.address}:{self.port}?tls=none"

    def up(self) -> None:
        """Listen, always on the same port."""
        self._server = _Server((self.address, self.port), self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        """Stop listening, and cut every connection where it is."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    def hang_up(self) -> None:
        """Cut every connection where it is, and go on listening."""
        if self._server:
            self._server.cut()

    def say(self, octets: bytes) -> None:
        """On every connection, out of turn."""
        for connection in list(self._server.open) if self._server else []:
            with contextlib.suppress(OSError):  # one that was cut, and whose thread has not noticed
                connection.sendall(octets)

    @property
    def connections(self) -> int:
        return len(self._server.open) if self._server else 0

    def reply(self, command: bytes, usual: bytes = b"250 2.0.0 ok\r\n") -> bytes:
        for start in list(self.faults):
            if command.startswith(start):
                return self.faults.pop(start)
        for start, said in self.replies.items():
            if command.startswith(start):
                return said
        verb = command.split(b" ")[0].upper()
        return self._ehlo() if verb == b"EHLO" else _USUAL.get(verb, usual)

    def _ehlo(self) -> bytes:
        words = ["smarthost.example", *self.extensions, *(["STARTTLS"] if self.tls or self.bad_tls else [])]
        return "".join(f"250{'-' if word is not words[-1] else ' '}{word}\r\n" for word in words).encode()

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
        self._hop = self.server.hop
        self._life = self._hop.life
        self._encrypted = False
        self._hop.greeted += 1
        self.server.open.add(self.request)

    def finish(self) -> None:
        self.server.open.discard(self.request)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        if not self._say(self._hop.reply(b"GREETING")):
            return
        mail, rcpts = "", list[str]()
        while line := self.rfile.readline(8192):
            command = line.rstrip(b"\r\n")
            verb = command.split(b" ")[0].upper()
            said = self._hop.reply(command)
            if verb == b"DATA" and said[:1] == b"3" and not rcpts:
                said = b"554 5.5.1 no valid recipients\r\n"
            if not self._say(said):
                return
            good = said[:1] == b"2"
            if verb == b"MAIL" and good:
                mail, rcpts = command.decode(), []
            elif verb == b"RCPT" and good:
                rcpts.append(command.decode())
            elif verb == b"STARTTLS" and good:
                if not self._start_tls():
                    return
            elif verb == b"QUIT" or (verb == b"DATA" and said[:1] in b"3<" and not self._message(mail, rcpts)):
                return

    def _say(self, said: bytes) -> bool:
        """False when the connection ends with it."""
        if said != SILENCE:
            self.wfile.write(said)
            self.wfile.flush()
        return bool(said)

    def _start_tls(self) -> bool:
        """Handshake; whether the session goes on."""
        tls = self._hop.bad_tls.pop(0) if self._hop.bad_tls else self._hop.tls
        if not isinstance(tls, ssl.SSLContext):
            self.wfile.write(tls or b"")
            self.rfile.readline()
            return False
        inside = self.request.dup()  # the outside stays open for `cut`
        try:
            encrypted = tls.wrap_socket(inside, server_side=True)
        except (ssl.SSLError, OSError):
            inside.close()
            return False
        self.rfile, self.wfile = encrypted.makefile("rb"), encrypted.makefile("wb")
        self._encrypted = True
        return True

    def _message(self, mail: str, rcpts: list[str]) -> bool:
        """Read to the final dot and answer it; False when the connection ends there."""
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            if not lines and (said := self._hop.reply(b"BODY", SILENCE)) != SILENCE:
                self._say(said)
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        said = self._hop.reply(b".")
        if said[:1] in (b"2", b"") or said == SILENCE:
            self._hop.deliveries.append(Delivery(mail, tuple(rcpts), b"".join(lines), self._life, self._encrypted))
        return self._say(said)
