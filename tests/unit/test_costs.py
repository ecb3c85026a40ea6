"""What the conversation costs, in calls of functions: a guard against slowness that no busy machine moves.

Python's own count of calls, in a gateway in memory whose login table, queue and log cost next to nothing. The limits have a
sixth of room: an interpreter may count a little otherwise. Who goes over one has added work to every message or session; it
may be worth it, and then the limit is raised with the change that needs it.
"""

import gc
import logging
import sys
from collections.abc import Callable
from types import FrameType

import pytest
import structlog

from gateway import maillog
from tests.harness import Client, Gateway

CONTENT = (
    b"From: <demo@example.com>\r\nTo: <r0@example.net>\r\nSubject: s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <%d@client.example>\r\n\r\n" + b"x" * 70 + b"\r\n.\r\n"
)
WARM = 3  # what is made once is made by then

MESSAGE = 620  # calls for a message to one recipient
RECIPIENT = 70  # for each further one
SESSION = 530  # for a session that signs in and ends


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line costs is the log's own affair, and depends on where it goes."""
    errors_only = structlog.make_filtering_bound_logger(logging.ERROR)
    monkeypatch.setattr(maillog, "log", structlog.wrap_logger(None, wrapper_class=errors_only).bind())


def calls(work: Callable[[], object]) -> int:
    """How many functions written in Python it calls; none that what other tests have left calls as it is collected."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    gc.disable()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def send(client: Client, number: int, recipients: int = 1) -> None:
    rcpts = b"".join(b"RCPT TO:<r%d@example.net>\r\n" % each for each in range(recipients))
    client.send(b"MAIL FROM:<demo@example.com>\r\n" + rcpts + b"DATA\r\n")
    client.send(CONTENT % number)


def session(gateway: Gateway) -> None:
    client = gateway.signed_in()
    client.send(b"QUIT\r\n")
    assert client.closed


def test_calls_of_a_message_and_of_a_recipient() -> None:
    gateway = Gateway()
    client = gateway.signed_in()
    for number in range(WARM):
        send(client, number)
    of_one = calls(lambda: send(client, WARM))
    of_many = calls(lambda: send(client, WARM + 1, 101))
    assert len(gateway.queued) == WARM + 2
    assert (of_one <= MESSAGE, of_many - of_one <= 100 * RECIPIENT) == (True, True), (of_one, (of_many - of_one) / 100)


def test_calls_of_a_session() -> None:
    gateway = Gateway()
    for _ in range(WARM):
        session(gateway)
    taken = calls(lambda: session(gateway))
    assert taken <= SESSION, taken
