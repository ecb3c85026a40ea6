"""Binding the ports of a gateway, all or none, before anybody is let in."""

import errno
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.tcp import Port

from gateway.config import Config, Listen

BACKLOG = 1024


class CannotBind(Exception):
    """`lines` say what stands in the way, "listen.2.port: what; what to do", each with its line end."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(*lines)
        self.lines = lines


def bind(settings: Config, factory: Callable[[Listen], IProtocolFactory], site: IProtocolFactory, reactor: Any) -> list[Port]:
    """The ports of all listeners in their order, that of HTTP last; nobody reads from them yet. Raises CannotBind."""
    wanted = [
        (listen.address, listen.port, factory(listen), f"listen.{number}.port")
        for number, listen in enumerate(settings.listen, 1)
    ]
    wanted.append((settings.http.address, settings.http.port, site, "http.port"))
    ports, problems = [], []
    for address, port, made, key in wanted:
        try:
            listening = reactor.listenTCP(port, made, interface=address, backlog=BACKLOG)
        except CannotListenError as error:
            problems.append(_problem(error, address, port, key))
        else:
            listening.stopReading()
            ports.append(listening)
    if problems:
        raise CannotBind(problems)
    return ports


def _problem(error: CannotListenError, address: str, port: int, key: str) -> str:
    cause = error.socketError
    taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    cure = "; is another gateway running? stop it, or change the port" if taken else ""
    reason = cause.strerror if isinstance(cause, OSError) else cause
    return f"{key}: cannot listen on {address} port {port}: {reason}{cure}\n"
