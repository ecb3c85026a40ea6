"""SQLAlchemy URLs as text: what is wrong with one, SQLite files made absolute, passwords masked."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

_URL = re.compile(r"([a-z][a-z0-9_]*)(?:\+[a-z][a-z0-9_]*)?://(.*)", re.DOTALL)
# The server's part of a URL, as SQLAlchemy reads it: what stands between the user and password and the database
_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^/:?\[\]]*)(?::[0-9]{1,5})?(?=[/?]|\Z)")
# Parameters shown as they are. Any other may hold a secret (odbc_connect, options, sslpassword, passfile ...) and is masked
_SHOWN = frozenset((
    "application_name", "charset", "check_same_thread", "connect_timeout", "driver", "host", "mode", "port", "read_timeout",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "ssl_ca", "ssl_cert", "sslcert", "sslcrl",
    "sslmode", "sslrootcert", "target_session_attrs", "tcp_user_timeout", "timeout", "unix_socket", "uri", "write_timeout",
))  # fmt: skip
_MASK = "********"
_EXAMPLES = 'write for instance "postgresql://user:password@host/database" or "sqlite:///var/file.db"'


def dialect(url: str) -> str:
    """ "sqlite", "postgresql" ...; "" when `url` is none."""
    found = _URL.fullmatch(url)
    return found[1] if found else ""


def absolute(url: str, base: Path) -> str:
    """Check the shape of `url`, and make a SQLite file absolute from `base`.

    Raises ValueError that repeats nothing of `url`.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"is not a database URL; {_EXAMPLES}")
    if found[1] == "postgres":
        raise ValueError("begins with postgres://, which SQLAlchemy does not know; write postgresql://")
    if found[1] != "sqlite":
        check_server(found[2])
        return url
    location, mark, query = found[2].partition("?")
    prefix = url[: len(url) - len(found[2])]
    return f"{prefix}/{_absolute_file(location, base)}{mark}{query}"


def _absolute_file(location: str, base: Path) -> str:
    """The database part of a SQLite URL, which SQLAlchemy percent-decodes: "/var/x.db" or "file:/var/x.db"."""
    if not location.startswith("/"):
        raise ValueError('has no file after three slashes; write "sqlite:///var/file.db", or four slashes for /var/file.db')
    uri, name = ("file:", location[6:]) if location.startswith("/file:") else ("", location[1:])
    if not name or name == ":memory:":
        raise ValueError('names no file, and memory is lost when the gateway stops; write "sqlite:///var/file.db"')
    return uri + quote(str(base / unquote(name)))


def check_server(rest: str) -> None:
    """Check what follows "://" of a server's URL. Raises ValueError that repeats nothing of it.

    A password with a raw "@" would become a part of the host, which drivers put into their error texts; one that is taken for
    a port would be in SQLAlchemy's.
    """
    if rest.count("@") > 1:
        raise ValueError('has more than one "@"; write %40 for each "@" of a user, a password or an option')
    userinfo, at, server = rest.partition("@")
    if not _SERVER.match(server if at else userinfo):
        raise ValueError(f"has no host and port that we understand; {_EXAMPLES}")


def masked(url: str) -> str:
    """`url` with asterisks for its password and for every parameter that is not known to be harmless; the host stays."""
    scheme, separator, rest = url.partition("://")
    head, at, tail = rest.rpartition("@")  # the last one, so that of a password with a raw "@" nothing is shown
    user, colon, _ = head.partition(":")
    if at and colon:
        rest = f"{user}:{_MASK}@{tail}"
    start, mark, query = rest.partition("?")
    return scheme + separator + start + mark + "&".join(_masked_parameter(part) for part in query.split("&"))


def _masked_parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    if unquote(name) in _SHOWN:
        return part
    return f"{name}={_MASK}" if equals else _MASK * bool(name)
