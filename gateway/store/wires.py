"""The sockets under an engine's connections, to be cut when a server that hangs keeps our threads.

A driver that waits for an answer cannot be interrupted from another thread. It raises at once when its socket is shut down.
That is done on a duplicate of the descriptor, since shutdown(2) is about the connection: the driver's own stays open until it
is closed.
"""

import os
import socket
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, event


class Wires:
    """Of `engine`; a SQLite engine has none."""

    def __init__(self, engine: Engine) -> None:
        self._open: dict[int, Any] = {}  # the drivers' connections, by their id()
        if engine.dialect.name != "sqlite":
            event.listen(engine, "connect", lambda connection, record: self._open.update({id(connection): connection}))
            event.listen(engine, "close", lambda connection, record: self._open.pop(id(connection), None))

    def cut(self) -> None:
        """End every connection, in the middle of anything. What waits on one raises. For any thread."""
        for connection in list(self._open.values()):
            with suppress(Exception):  # closed meanwhile, in the driver's own way to say so
                _shut_down(connection)


def _shut_down(connection: Any) -> None:
    descriptor = connection.fileno() if hasattr(connection, "fileno") else connection._sock.fileno()  # psycopg; PyMySQL
    with socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
