"""A peer that vanishes without a word is found out by the kernel, long before the time limits of SMTP are over."""

import socket
from typing import Any

IDLE = 20  # seconds of silence before the first probe
INTERVAL = 10  # seconds between probes
PROBES = 3  # without an answer
UNACKNOWLEDGED = 45_000  # milliseconds that what was sent may wait for its acknowledgement (tcp(7), TCP_USER_TIMEOUT)

_OPTIONS = (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", PROBES), ("TCP_USER_TIMEOUT", UNACKNOWLEDGED))


def keep_alive(transport: Any) -> None:
    """Have the kernel watch the other end of a TCP connection of Twisted's. What a system does not know is left out."""
    transport.setTcpKeepAlive(True)
    handle = transport.getHandle()
    for name, amount in _OPTIONS:
        if hasattr(socket, name):
            handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), amount)
