"""A port for a server that goes down and comes back: outside of those that the system gives to outgoing connections.

It stays ours until this process ends, also while its server is down: without that, another process of pytest-xdist may get it.
"""

import os
import random
import socket

_LOW, _HIGH = 20_000, 32_000  # Linux takes 32768 and up by itself
_chance = random.Random(os.getpid())  # processes of pytest-xdist must not try the same ones
_kept: list[socket.socket] = []


def free_port() -> int:
    """Of 127.0.0.1; nobody has it now, and only those may listen there who set SO_REUSEADDR, as servers do."""
    while True:
        port, place = _chance.randint(_LOW, _HIGH), socket.socket()
        try:
            place.bind(("127.0.0.1", port))  # alone, so it fails where anybody has the port, listening or not
        except OSError:
            place.close()
            continue
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # from now on another may listen
        _kept.append(place)
        return port
