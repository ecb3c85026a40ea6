"""What a parent and its workers say to each other, over two pipes.

Down go orders, each with a number; up come answers with the number of their order, and what a worker says by itself
(answer 0). Both are frames with their length in front. Orders carry settings, with their secrets, as objects; what comes up
is plain JSON: the parent unpickles nothing.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from gateway.config import Config
from gateway.share import Share

ORDERS, ANSWERS = 0, 3  # a worker's descriptors for the two pipes
LOCK, TALLY, FIRST_PORT = 4, 5, 6  # and those of what it inherits: the state directory's lock, shared counts, ports
MAX_FRAME = 1 << 24  # octets


@dataclass(frozen=True, slots=True)
class Begin:
    """Serve. `log_file` is "" for standard output; the key is that of the shared counts of `share.of` + 1 processes."""

    settings: Config
    share: Share
    tally_key: bytes = field(repr=False)
    log_file: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Take these settings."""

    settings: Config


@dataclass(frozen=True, slots=True)
class Report:
    """Answer with your figures."""


@dataclass(frozen=True, slots=True)
class Leave:
    """End, as at SIGTERM."""


Order = Begin | Reload | Report | Leave
# What is said is an object with these, or empty
LISTENING = "listening"  # true: the worker lets people in now, said by itself
FIGURES = "figures"  # what it has counted: the answer to Report, and its last word


class Channel(Int32StringReceiver):
    """Frames, each handed to `heard`; `cut_off` is called at the end."""

    MAX_LENGTH = MAX_FRAME

    def __init__(self, heard: Callable[[bytes], None], cut_off: Callable[[], None]) -> None:
        self._heard = heard
        self._cut_off = cut_off

    def stringReceived(self, string: bytes) -> None:
        self._heard(string)

    def receive(self, data: bytes) -> None:
        self.dataReceived(data)  # type: ignore[no-untyped-call]

    def send(self, frame: bytes) -> None:
        self.sendString(frame)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cut_off()


def order_frame(number: int, order: Order) -> bytes:
    return pickle.dumps((number, order))


def read_order(frame: bytes) -> tuple[int, Order]:
    """Of our parent, whose pipe nobody else can write to."""
    number, order = pickle.loads(frame)  # noqa: S301
    return number, order


def answer_frame(number: int, content: Mapping[str, object]) -> bytes:
    return json.dumps([number, content]).encode("utf-8")


def read_answer(frame: bytes) -> tuple[int, Mapping[str, Any]]:
    """The number of the order, and what is said."""
    number, content = json.loads(frame)
    return number, content
