"""Rules between keys: what each key may hold alone, but not together with its neighbours.

They look at the tables as written, so that they speak up even while some other key is wrong.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config import database_url
from gateway.config.problems import Problem

Document = Mapping[str, Any]


def tables_at(document: Document, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The table at `path`, or each table of the list there, with its own path; nothing where there is none."""
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        yield path, value
    elif isinstance(value, list):
        yield from ((f"{path}.{number}", each) for number, each in enumerate(value, 1) if isinstance(each, dict))


def between_keys(document: Document) -> Iterator[Problem]:
    """All that contradict each other."""
    yield from _certificate_pair(document)
    yield from _same_listener(document)
    yield from _pointless_plaintext_auth(document)
    yield from _store_dialect(document)
    yield from _secret_to_share(document)


def _certificate_pair(document: Document) -> Iterator[Problem]:
    for at, tls in tables_at(document, "tls"):
        for given, other in (("certificate", "key"), ("key", "certificate")):
            if given in tls and other not in tls:
                yield Problem(f"{at}.{other}", f"is missing beside {given}; give both, or neither for a self-signed one")


def _same_listener(document: Document) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    for at, listen in tables_at(document, "listen"):
        place = (str(listen.get("address", "127.0.0.1")), str(listen.get("port", 2587)))
        first = seen.setdefault(place, at)
        if first != at and place[1] != "0":
            yield Problem(f"{at}.port", f"is the same address and port as {first}; give each listener its own")


def _pointless_plaintext_auth(document: Document) -> Iterator[Problem]:
    for at, listen in tables_at(document, "listen"):
        if listen.get("allow_plaintext_auth") is True and listen.get("security", "starttls") in ("starttls", "tls"):
            yield Problem(f"{at}.allow_plaintext_auth", 'does nothing here; leave it out, or set security = "none"')


def _store_dialect(document: Document) -> Iterator[Problem]:
    for at, store in tables_at(document, "store"):
        if database_url.dialect(str(store.get("url", "sqlite://"))) not in ("sqlite", "postgresql", "postgres", ""):
            yield Problem(f"{at}.url", "is neither SQLite nor PostgreSQL; write sqlite:///var/gateway.db")


def _secret_to_share(document: Document) -> Iterator[Problem]:
    """What one machine writes down under its secret, the others read under theirs: fingerprints of wrong passwords."""
    shared = any(database_url.dialect(str(store.get("url", ""))) == "postgresql" for _, store in tables_at(document, "store"))
    if shared and not any(server.get("secret") for _, server in tables_at(document, "server")):
        text = "is missing; machines that share a store have one secret: write 32 random characters or more"
        yield Problem("server.secret", f"{text}, from `openssl rand -hex 32`")
