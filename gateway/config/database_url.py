"""SQLAlchemy URLs as text: what is wrong with one, SQLite files made absolute, passwords masked."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

_URL = re.compile(r"([a-z][a-z0-9_]*)(?:\+[a-z][a-z0-9_]*)?://(.*)", re.DOTALL)
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
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


def masked(url: str) -> str:
    """`url` with asterisks for its password and for secret parameters; the host stays."""
    scheme, separator, rest = url.partition("://")
    head, at, tail = rest.rpartition("@")
    user, colon, _ = head.partition(":")
    shown = f"{user}:********@{tail}" if at and colon else rest
    return scheme + separator + _SECRET_PARAMETER.sub(r"\1********", shown)
