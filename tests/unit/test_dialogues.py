"""Runs tests/dialogues/*.txt: conversations with a client, one behaviour a file, named by its first line.

    C: octets           a command line; its CRLF is added. Escapes: \\r \\n \\t \\0 \\xNN \\\\
    C! octets           exactly these octets, without CRLF
    C*3000 octets       the line so many times
    C!*3000 octets      the octets so many times
    S: text             the next line of reply; "..." stands for anything
    S*20 text           the next lines of reply, so many alike
    TLS                 the client has done the handshake that the gateway asked for
    CLOSED              the gateway has closed the connection
    SIGN IN [login]     EHLO, STARTTLS, EHLO and AUTH with the password "secret"; demo@example.com when no login is given
    LISTEN kind         first: "starttls" (the default), "tls", "none", "none with AUTH" (allow_plaintext_auth)
    LIMIT name value    [limits] has this value from now on
    SENDERS any         [senders] lets any address from now on
    SENDERS bounces from host   senders.bounces_from has this host from now on
    WORLD words         something happens elsewhere: see WORLD below
    QUEUED count        so many messages are queued
    TO field=address    all recipients of the last message, in order, as "to=a@b bcc=c@d"
    ENVELOPE text       the last message's envelope and DSN parameters: see `envelope`
    HEADER text         a field of the last message is this, unfolded ("..." as above)
    NO HEADER text      no field is
    BODY octets         the last message's body is exactly this
    CHARGED count       so many recipients are charged to demo@example.com today
    COUNTED name [label=value] count   a metric's value
    SHELF count         so many large bodies are on disk, finished or not

Every line of a reply must be expected before the next thing is sent: one reply to a command, in order.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import Senders
from gateway.errors import StorageFull, Unavailable
from gateway.queue.model import NewMessage
from tests.harness import CLERK, Client, Gateway

DIALOGUES = sorted((Path(__file__).parents[1] / "dialogues").glob("*.txt"))
NAMES = [path.stem for path in DIALOGUES]

_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")

_SAID = re.compile(r"C(?::|(?P<raw>!)?(?:\*(?P<times>\d+))?)(?: (?P<text>.*))?")
_HEARD = re.compile(r"S(?:\*(?P<times>\d+)|:) (?P<text>.*)")

WORLD: dict[str, Callable[[Gateway], None]] = {
    "the login table is away": lambda world: setattr(world.table, "away", True),
    "the login table is back": lambda world: setattr(world.table, "away", False),
    "too many hashes wait": lambda world: setattr(world.hasher, "busy", True),
    "the store is full": lambda world: setattr(world.outbox, "fail_with", StorageFull("disk full")),
    "the store is away": lambda world: setattr(world.outbox, "fail_with", Unavailable("connection refused")),
    "the store is back": lambda world: setattr(world.outbox, "fail_with", None),
    "the spool is full": lambda world: setattr(world.bodies, "fail_with", StorageFull("disk full")),
    "the spool is away": lambda world: setattr(world.bodies, "fail_with", Unavailable("I/O error")),
    "the spool breaks": lambda world: setattr(world.bodies, "fail_with", RuntimeError("a bug of ours")),
    "the spool is back": lambda world: setattr(world.bodies, "fail_with", None),
    "the store breaks": lambda world: setattr(world.outbox, "fail_with", RuntimeError("a bug of ours")),
    "the password is changed": lambda world: world.table.change("demo@example.com", stored="stored:other"),
    "the account is disabled": lambda world: world.table.change("demo@example.com", active=False),
    "the account is deleted": lambda world: world.table.rows.clear(),
    "the account is given away": lambda world: world.table.change("demo@example.com", id="99"),
    "the account may send 60 octets": lambda world: world.table.change("demo@example.com", max_message_size=60),
    "the account may send to 2 a day": lambda world: world.table.change("demo@example.com", daily_recipients=2),
    "the account may send to 0 a day": lambda world: world.table.change("demo@example.com", daily_recipients=0),
    "the account has sent to 1 today": lambda world: world.use_up(1),
    "the account has sent to 3 today": lambda world: world.use_up(3),
    "the account has sent to 7 today": lambda world: world.use_up(7),
    "the account has sent to 10 today": lambda world: world.use_up(10),
    "the account has sent to 99 today": lambda world: world.use_up(99),
    "the account is suspended": lambda world: world.suspend(),
    "the suspension is lifted": lambda world: world.outbox.usage.lift("1"),
    "the ledger is away": lambda world: setattr(world.ledger, "fail_with", Unavailable("connection refused")),
    "a day passes": lambda world: world.pass_time(86400.0),
    "ten minutes pass": lambda world: world.pass_time(601.0),
    "brand.example is the account's": lambda world: world.own("brand.example", "1"),
    "brand.example is another's": lambda world: world.own("brand.example", "2"),
    "shop@brand.example is a credential": lambda world: world.sign_in.credentials.create("shop@brand.example", "stored:secret"),
    "the credential is reset": lambda world: world.sign_in.credentials.reset("shop@brand.example", "stored:other"),
    "the credential is deleted": lambda world: world.sign_in.credentials.delete("shop@brand.example"),
    "the clerk has an alias": lambda world: world.table.sender_aliases.update({CLERK.id: frozenset({"clerk@example.com"})}),
    "the alias is removed": lambda world: world.table.sender_aliases.clear(),
}


def octets(text: str) -> bytes:
    """The octets of a line of the file; UTF-8 outside the escapes."""
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[position : match.start()].encode())
        parts.append(bytes.fromhex(match[1]) if match[1] else _ESCAPES[match[2]].encode())
        position = match.end()
    return b"".join(parts) + text[position:].encode()


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), text, re.DOTALL) is not None


def envelope(message: NewMessage) -> str:
    """`from=<a@b> 8bit utf8 ret=HDRS envid=x`, then `notify/orcpt` of each recipient that gave any."""
    said = message.envelope
    words = [f"from=<{said.sender}>", "8bit" if said.eight_bit else "", "utf8" if said.smtputf8 else ""]
    words += [f"ret={said.ret}" if said.ret else "", f"envid={said.envid}" if said.envid else ""]
    words += [f"{each.notify}/{each.orcpt}" for each in message.recipients if each.notify or each.orcpt]
    return " ".join(filter(None, words))


class Dialogue:
    """One run: a world, the client's connection to it, and the replies that nobody has expected yet."""

    def __init__(self, text: str) -> None:
        self.world = Gateway()
        self.unread: list[str] = []
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        kind = lines.pop(0).removeprefix("LISTEN ") if lines[0].startswith("LISTEN ") else "starttls"
        self.client = self._connect(kind)
        self.lines = lines

    def run(self) -> None:
        self._hear()
        for line in self.lines:
            try:
                self._step(line)
            except AssertionError as error:
                raise AssertionError(f"at {line!r}: {error}") from error
        assert self.unread == [], "replies that the dialogue does not have"

    def _connect(self, kind: str) -> Client:
        match kind:
            case "starttls" | "tls" | "none":
                return self.world.connect(kind)
            case "none with AUTH":
                return self.world.connect("none", plaintext_auth=True)
        raise AssertionError(f"no such listener: {kind}")

    def _step(self, line: str) -> None:
        if said := _SAID.fullmatch(line):
            self._say(octets(said["text"] or "") + (b"" if said["raw"] else b"\r\n"), int(said["times"] or 1))
        elif heard := _HEARD.fullmatch(line):
            for _ in range(int(heard["times"] or 1)):
                self._expect(heard["text"])
        elif line.startswith("SIGN IN"):
            self._sign_in(line[8:] or "demo@example.com")
        else:
            self._look(line)

    def _look(self, line: str) -> None:
        """What happens elsewhere, or has to be true there."""
        match line.split(" ", 1):
            case ["TLS"]:
                self.client.handshake()
            case ["CLOSED"]:
                assert self.client.closed, "the connection is open"
            case ["LIMIT", setting]:
                name, value = setting.split()
                self.world.limit(**{name: int(value) if value.isdigit() else value})
            case ["WORLD", event]:
                WORLD[event](self.world)
            case ["QUEUED", count]:
                assert len(self.world.queued) == int(count), f"{len(self.world.queued)} are queued"
            case ["SENDERS", "any"]:
                self.world.may_send_as_any()
            case ["SENDERS", hosts] if hosts.startswith("bounces from "):
                self.world.rules.senders = Senders(bounces_from=tuple(hosts.split()[2:]))
            case ["CHARGED", count]:
                used = self.world.outbox.usage.standing("1").used
                assert used == int(count), f"{used} are charged"
            case ["COUNTED", metric]:
                self._look_at_metric(*metric.split())
            case ["SHELF", count]:
                files = [*self.world.bodies.files, *self.world.bodies.growing]
                assert len(files) == int(count), f"there are {files}"
            case [what, wanted]:
                self._look_at_message(what, wanted)
            case _:
                raise AssertionError("not a line of a dialogue")

    def _look_at_metric(self, name: str, *rest: str) -> None:
        *labels, count = rest
        value = self.world.registry.get_sample_value(f"smtp_gateway_{name}", dict(label.split("=") for label in labels))
        assert value == float(count), f"it is {value}"

    def _look_at_message(self, what: str, wanted: str) -> None:
        message = self.world.queued[-1]
        header, body = self.world.content(message)
        text = header.decode("utf-8", "backslashreplace")
        fields = [field.replace("\r\n", "") for field in re.split(r"\r\n(?![ \t])", text)]
        match what:
            case "TO":
                found = " ".join(f"{each.field.value}={each.address}" for each in message.recipients)
                assert found == wanted, found
            case "ENVELOPE":
                assert envelope(message) == wanted, envelope(message)
            case "HEADER":
                assert any(matches(wanted, each) for each in fields), fields
            case "NO":
                assert not any(matches(wanted.removeprefix("HEADER "), each) for each in fields), fields
            case "BODY":
                assert body == octets(wanted), body
            case _:
                raise AssertionError("not a line of a dialogue")

    def _say(self, data: bytes, times: int) -> None:
        assert self.unread == [], f"nobody expected {self.unread}"
        assert not self.client.closed, "the connection is closed"
        self.client.send(data * times)
        self._hear()

    def _hear(self) -> None:
        said = self.client.read().decode()
        assert said == "" or said.endswith("\r\n"), said
        self.unread += said.split("\r\n")[:-1]

    def _expect(self, wanted: str) -> None:
        assert self.unread, "nothing was said"
        said = self.unread.pop(0)
        assert matches(wanted, said), f"it said {said!r}"

    def _sign_in(self, login: str) -> None:
        if not self.client.secured:
            self.client.send(b"EHLO client.example\r\nSTARTTLS\r\n")
            self.client.handshake()
        self.client.send(b"EHLO client.example\r\n")
        response = b64encode(b"\0" + login.encode() + b"\0secret")
        self.client.read()
        self.unread.clear()
        self.client.send(b"AUTH PLAIN " + response + b"\r\n")
        self._hear()
        self._expect("235 2.7.0 ...")


@pytest.mark.parametrize("path", DIALOGUES, ids=NAMES)
def test_dialogue(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "the first line says which behaviour this is"
    Dialogue(text).run()


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) > 80


FAILING = {
    "another reply": "S: 221 Bye",
    "a reply nobody expects": "S: 220 ...\nC: NOOP\nQUEUED 0",
    "a reply expected and not said": "S: 220 ...\nS: 250 ...",
    "a reply not read before the next command": "S: 220 ...\nC: NOOP\nC: NOOP",
    "an open connection": "S: 220 ...\nCLOSED",
    "another count": "S: 220 ...\nQUEUED 1",
    "no such directive": "S: 220 ...\nQUEUE 1",
}


@pytest.mark.parametrize("text", FAILING.values(), ids=FAILING)
def test_a_dialogue_that_is_wrong_fails(text: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        Dialogue(text).run()
