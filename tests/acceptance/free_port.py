"""A port for a server that goes down and comes back: outside of those that the system gives to outgoing connections."""

import os
import random
import socket

_LOW, _HIGH = 20_000, 32_000  # Linux takes 32768 and up by itself
_chance = random.Random(os.getpid())  # processes of pytest-xdist must not try the same ones


def free_port() -> int:
    """Of 127.0.0.1; nobody listens there now."""
    while True:
        port = _chance.randint(_LOW, _HIGH)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
