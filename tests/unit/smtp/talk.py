"""A ServerSession and a decider that says yes to everything, which stands for all policy."""

from base64 import b64encode
from collections.abc import Callable

from gateway import reply
from gateway.reply import Reply
from gateway.smtp import events
from gateway.smtp.commands import SessionSettings
from gateway.smtp.events import Event
from gateway.smtp.server import ServerSession

SETTINGS = SessionSettings("gateway.example", starttls=False, implicit_tls=True)
AUTH = b"AUTH PLAIN " + b64encode(b"\0demo\0secret") + b"\r\n"
SIGN_IN = b"EHLO client.example\r\n" + AUTH
ENVELOPE = b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<to@example.net>\r\n"

Decide = Callable[[Event], Reply | None]


def yes(event: Event) -> Reply | None:
    match event:
        case events.BodyPart() | events.StartTls():
            return None
        case events.BodyStart():
            return reply.GO_AHEAD
        case events.Authenticate():
            return reply.SIGNED_IN
    return reply.OK


def nobody_signs_in(event: Event) -> Reply | None:
    return reply.WRONG_LOGIN if isinstance(event, events.Authenticate) else yes(event)


class Talk:
    """A session, what came out of it, and its events (parts of a body joined)."""

    def __init__(self, settings: SessionSettings = SETTINGS, decide: Decide = yes) -> None:
        self.counted: list[tuple[str, int]] = []
        self.session = ServerSession(settings, lambda verb, said: self.counted.append((verb, said.code)))
        self.events: list[Event] = []
        self.decide = decide
        self.said = b""
        self.hear()

    def send(self, *pieces: bytes) -> list[int]:
        """The codes of the replies to these octets; one for each reply, not for each line."""
        already = len(self.said)
        for piece in pieces:
            self.session.receive_data(piece)
            self.hear()
        return codes(self.said[already:])

    def hear(self) -> None:
        while (event := self.session.next_event()) is not None:
            self._note(event)
            if isinstance(event, events.StartTls):
                self.session.tls_started()
            else:
                self.session.answer(self.decide(event))
        self.said += self.session.data_to_send()

    def _note(self, event: Event) -> None:
        last = self.events[-1] if self.events else None
        if isinstance(event, events.BodyPart) and isinstance(last, events.BodyPart):
            self.events[-1] = events.BodyPart(last.data + event.data)
        else:
            self.events.append(event)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


def codes(said: bytes) -> list[int]:
    lines = said.decode().split("\r\n")
    assert lines.pop() == ""
    return [int(line[:3]) for line in lines if line[3] == " "]


def talk(*pieces: bytes, settings: SessionSettings = SETTINGS, decide: Decide = yes) -> Talk:
    found = Talk(settings, decide)
    found.send(*pieces)
    return found
