"""Mail clients that only sign in, for processes of their own: many sessions with their waits, guessing without an end."""

import ssl
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

from tests.acceptance.installation import PASSWORD
from tests.acceptance.wire import HERE, Wire, plain


@dataclass(frozen=True)
class Server:
    """A gateway's port with TLS from the start, and the file of the authority that signed its certificate."""

    port: int
    authorities: str

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authorities)


@dataclass
class Told:
    """What came of sign-ins: how many got each reply, the wait for each in seconds, and the time for all of it."""

    replies: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.waits) / self.seconds

    def wait(self, part: float) -> float:
        """The wait that this part of all did not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    def session(self, wire: Wire, command: str) -> bool:
        """Send a command and count what comes of it; whether the session goes on."""
        began = time.perf_counter()
        said = wire.command(command)
        self.waits.append(time.perf_counter() - began)
        self.replies[said.code] += 1
        return said.code in (250, 535)


def opened(server: Server, context: ssl.SSLContext, source: str = HERE) -> Wire:
    """A session with EHLO said."""
    wire = Wire(server.port, source=source)
    wire.start_tls(context)
    wire.reply()
    wire.command("EHLO benchmark.example")
    return wire


def sessions(server: Server, commands: Sequence[str], threads: int) -> Told:
    """A session for each of `commands`, which is timed in it; so many `threads` at once."""
    told, context = Told(), server.context()

    def one(command: str) -> None:
        with opened(server, context) as wire:
            told.session(wire, command)
            wire.command("QUIT")

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, commands))
    told.seconds = time.perf_counter() - began
    return told


def steady(server: Server, logins: Sequence[str], seconds: float, pause: float) -> Told:
    """Sign-ins one after the other, with a pause between them, for so long."""
    told, context = Told(), server.context()
    began = time.perf_counter()
    for number in count():
        if time.perf_counter() - began > seconds:
            break
        with opened(server, context) as wire:
            told.session(wire, sign_in(logins[number % len(logins)]))
        time.sleep(pause)
    told.seconds = time.perf_counter() - began
    return told


def guessing(server: Server, logins: Sequence[str], sources: Sequence[str], seconds: float) -> Told:
    """A connection from each of `sources` that guesses as fast as it is answered, a new password each time, for so long."""
    told, context, numbers = Told(), server.context(), count()
    began = time.perf_counter()

    def guess(source: str) -> None:
        while time.perf_counter() - began < seconds:
            with opened(server, context, source) as wire:
                for _ in range(3):  # the gateway ends a session after three
                    number = next(numbers)
                    if not told.session(wire, sign_in(logins[number % len(logins)], f"guess {number}")):
                        break

    with ThreadPoolExecutor(len(sources)) as pool:
        list(pool.map(guess, sources))
    told.seconds = time.perf_counter() - began
    return told


def sign_in(login: str, password: str = PASSWORD) -> str:
    return f"AUTH PLAIN {plain(login, password)}"
