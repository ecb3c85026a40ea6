"""What `doctor` looks at on this machine: folders, room on the disk, the store's version, the ports."""

import contextlib
import errno
import http.client
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from gateway.config import Config, Listen
from gateway.edge import proxy_protocol
from gateway.edge.limits import is_within
from gateway.errors import ConfigError, Unavailable
from gateway.store.inspect import Finding, Level
from gateway.store.lockfile import is_held
from gateway.store.migrate import check_schema

MIB = 1 << 20
_SCARCE = 1024 * MIB  # octets free: a warning below, since the queue lives here while a next hop is away
_FULL = 100 * MIB
_TIMEOUT = 5.0  # seconds


def state(config: Config) -> Iterator[Finding]:
    folder = config.server.state_dir
    problem = not_writable(folder)
    if problem:
        yield Finding("problem", "server.state_dir", problem)
        return
    yield Finding("ok", "server.state_dir", f"{folder} is writable")
    yield from _another_user(existing(folder))
    free = shutil.disk_usage(existing(folder)).free
    level: Level = "problem" if free < _FULL else "warning" if free < _SCARCE else "ok"
    advice = "" if level == "ok" else "; make room, or put server.state_dir on a larger disk"
    yield Finding(level, "server.state_dir", f"{free // MIB} MiB free on its disk{advice}")


def _another_user(folder: Path) -> Iterator[Finding]:
    owner = folder.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        text = f"{folder} belongs to user id {owner}, and this is root, who may do what the server may not"
        yield Finding("warning", "server.state_dir", f"{text}; run doctor as that user")


def store(url: str) -> Iterator[Finding]:
    try:
        check_schema(url)
    except ConfigError as error:
        yield from (Finding("problem", *problem.split(": ", 1)) for problem in error.problems)
    except Unavailable as error:
        yield Finding("problem", "store.url", f"cannot be read: {error}")
    else:
        yield Finding("ok", "store.url", "the store is up to date")


def ports(config: Config) -> Iterator[Finding]:
    state_dir = config.server.state_dir
    for number, listen in enumerate(config.listen, 1):
        serves = partial(_serves_smtp, _reachable(listen.address, listen.port), listen)
        yield _port(f"listen.{number}.port", listen.address, listen.port, _by_us(state_dir, serves))
    web = config.http
    health = partial(_serves_health, _reachable(web.address, web.port))
    yield _port("http.port", web.address, web.port, _by_us(state_dir, health))


def not_writable(folder: Path) -> str:
    """Why nothing can be written into `folder`, which may not be there yet; "" when it can: it is tried, and leaves nothing."""
    there = existing(folder)
    if not there.is_dir():
        return f"{there} is not a folder; name another one"
    try:
        with TemporaryFile(dir=there, buffering=0) as trial:
            trial.write(b"x" * 4096)
    except OSError as error:
        return f"{there} cannot be written by this user (id {os.geteuid()}): {error.strerror}; chown it, or name another one"
    return ""


def existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.parents) if os.path.exists(each))  # Path's own may raise


def _port(key: str, address: str, port: int, ours: Callable[[], bool]) -> Finding:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port just left is free
            trial.bind((address, port))
    except OSError as error:
        return _cannot_bind(key, f"{address}:{port}", error, ours)
    return Finding("ok", key, f"{address}:{port} is free")


def _by_us(state_dir: Path, serves: Callable[[], bool]) -> Callable[[], bool]:
    """Another gateway greets alike, so that alone says nothing."""
    return lambda: is_held(state_dir) and serves()


def _cannot_bind(key: str, place: str, error: OSError, ours: Callable[[], bool]) -> Finding:
    match error.errno:
        case errno.EADDRINUSE if ours():
            return Finding("ok", key, f"{place} is served by the running gateway")
        case errno.EADDRINUSE:
            text = f"{place} is in use, and not by a gateway on this server.state_dir"
            return Finding("problem", key, f"{text}; stop what has it, or choose another port")
        case errno.EACCES:
            cure = "let systemd give CAP_NET_BIND_SERVICE (deploy/smtp-gateway.service does), or choose one above 1023"
            return Finding("problem", key, f"{place} is not allowed to this user; {cure}")
        case errno.EADDRNOTAVAIL:
            return Finding("problem", key, f'{place} is no address of this machine; write one of its own, or "0.0.0.0" or "::"')
        case _:
            return Finding("problem", key, f"{place} cannot be opened: {error.strerror}")


def _serves_smtp(place: tuple[str, int], listen: Listen) -> bool:
    """Whether whoever has the port greets as an SMTP server."""
    with contextlib.suppress(OSError), socket.create_connection(place, _TIMEOUT) as plain:
        if is_within(plain.getsockname()[0], listen.proxy_protocol_from):
            plain.sendall(proxy_protocol.OWN)
        connection = _anybody().wrap_socket(plain) if listen.security == "tls" else plain
        return connection.recv(512).startswith(b"220")
    return False


def _serves_health(place: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*place, timeout=_TIMEOUT)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


def _anybody() -> ssl.SSLContext:
    """A client that takes any certificate: it only wants to see a greeting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reachable(address: str, port: int) -> tuple[str, int]:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address), port  # noqa: S104 compared, not bound
