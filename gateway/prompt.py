"""Sends at once what a socket takes, and asks the reactor to go on only with what is left.

Twisted's own connections put everything into a buffer, have the reactor wait until the socket can be written to, write, and
end the waiting: two more system calls and a turn of the reactor for each line of ours, which nearly always fits. Each of those
calls gives up Python's lock as well, for which other threads stand in line.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection, Port, Server

ACCEPTS = 5  # connections in one turn of the reactor


class PromptConnection(Server):
    """Nothing else is different: order, buffers and producers are Twisted's."""

    def write(self, data: bytes) -> None:
        rest = _unsent(self, data)
        if rest:
            super().write(rest)  # type: ignore[no-untyped-call]


def prompt(port: Port) -> Port:
    """Let the connections that `port` accepts from now on be such, and let it accept few in one turn of the reactor.

    Twisted accepts a hundred at once, and more each time that there are as many: a flood of connections that are reset at once
    then takes all the time there is, and the sessions that are open wait for seconds.
    """
    port.transport = PromptConnection
    read: Callable[[], None] = port.doRead

    def read_a_few() -> None:
        port.numberAccepts = ACCEPTS
        read()

    port.doRead = read_a_few  # type: ignore[method-assign]
    return port


def write_promptly(transport: Any, data: bytes) -> None:
    """As `transport.write`, for one that Twisted has made; where it is no socket, it is no different."""
    if isinstance(transport, Connection):
        data = _unsent(transport, data)
    if data:
        transport.write(data)


def _unsent(connection: Connection, data: bytes) -> bytes:
    """Send what the socket takes, unless something older waits; what is left of it."""
    if not connection.connected or connection._writeDisconnected or connection.dataBuffer or connection._tempDataLen:
        return data
    sent = connection.writeSomeData(data)
    return data[sent:] if isinstance(sent, int) else data  # the connection is lost, as the reactor finds out and tells
