"""Keeps the import ladder of ARCHITECTURE.md: which part of the package may import which, and where a library may appear.

Two tables and one test case a source file. A module belongs to the part that its first name under `gateway` says.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

VALUES = {"errors", "address", "reply", "values", "xtext"}
LEVEL_0 = VALUES | {"config", "metrics", "maillog", "deadline", "prompt", "net"}

# Part of the package -> the parts it may import besides itself. `gateway` itself holds only __version__: anyone may.
OURS: dict[str, set[str]] = {
    "address": set(),
    "reply": set(),
    "errors": {"reply"},
    "values": set(),
    "xtext": set(),
    "deadline": set(),
    "prompt": set(),
    "metrics": set(),
    "maillog": set(),
    "config": {"errors", "address"},
    "net": {"prompt"},
    "logfile": set(),
    "logs": {"logfile", "maillog"},
    "share": set(),
    "cores": set(),
    "core_dumps": set(),
    "hash_slots": set(),
    "upkeep": {"errors", "maillog"},
    "card": {"config"},
    "smtp": VALUES,
    "message": VALUES,
    "accounts": LEVEL_0,
    "queue": LEVEL_0 | {"message"},
    "store": LEVEL_0 | {"accounts", "queue"},
    "draft": LEVEL_0 | {"smtp", "message", "queue"},
    "quota": LEVEL_0 | {"accounts", "queue"},
    "submission": LEVEL_0 | {"draft", "quota", "smtp", "message", "accounts", "queue"},
    "edge": LEVEL_0 | {"smtp", "submission"},
    "relay": LEVEL_0 | {"smtp", "queue"},
    "web": LEVEL_0 | {"accounts", "queue"},
}
WIRING = {
    "service",
    "hashing",
    "sign_in",
    "stores",
    "hops",
    "listening",
    "node",
    "housekeeping",
    "workers",
    "supervisor",
    "worker",
    "orders",
    "cli",
}  # level 6 sees everything
OURS |= {part: set(OURS) | WIRING for part in WIRING}

# Library or name in it -> the parts, or single modules, that may import it. A library without a row is refused.
LIBRARIES: dict[str, set[str]] = {
    "alembic": {"store"},
    "argon2": {"accounts"},
    "bcrypt": {"accounts"},
    "click": {"cli"},
    "idna": {"address"},
    "prometheus_client": {"metrics", "web", "stores"},
    "pydantic": {"config"},
    "pysqlite3": {"store"},
    "sqlalchemy": {"store", "cli"},
    "structlog": {"maillog", "logs"},
    "twisted": {"deadline", "prompt", "net", "edge", "relay", "web", "queue", "store", "logs", "upkeep"} | WIRING,
    "twisted.internet.defer": {"accounts"},  # to wait, nothing else
    "cryptography": {"edge", "cli"},
    "zope.interface": {"edge", "relay", "logs"},
    "twisted.internet.reactor": {"service", "worker"},  # the one global one
    # Clock, chance, threads and sockets are handed in: whoever imports these makes them, or says below why not.
    "asyncio": set(),
    "random": set(),
    "socket": {"cli", "worker", "net", "store.wires"},
    "threading": set(),
    "threading.get_native_id": {"accounts.hash_threads"},  # a thread lowers its own priority
    "time": {"hashing", "sign_in", "stores"},
}
# A row of these is not opened by the wider row above it.
NARROW = {"twisted.internet.reactor"}


def sources() -> list[Path]:
    return sorted((ROOT / "gateway").rglob("*.py"))


def module_of(path: Path) -> str:
    """`gateway/queue/model.py` is `queue.model`, `gateway/queue/__init__.py` is `queue`; the package itself is ""."""
    parts = path.relative_to(ROOT / "gateway").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(source: str) -> Iterator[str]:
    """Dotted names that the source imports, wherever in the file: `from a.b import c` is a.b.c."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


def prefixes(name: str) -> set[str]:
    """`a.b.c` -> a, a.b, a.b.c"""
    parts = name.split(".")
    return {".".join(parts[: n + 1]) for n in range(len(parts))}


def allowed(module: str, name: str) -> bool:
    """Whether `module` of ours may import `name`."""
    part = module.split(".")[0]
    top, _, rest = name.partition(".")
    if name.startswith("."):
        return False
    if top == "gateway":
        wanted = rest.split(".")[0]
        return wanted == "__version__" or wanted == part or wanted in OURS.get(part, set())
    rows = prefixes(name) & NARROW or prefixes(name) & LIBRARIES.keys()
    if not rows:
        return top in sys.stdlib_module_names
    return any(prefixes(module) & LIBRARIES[row] for row in rows)


def violations(module: str, source: str) -> list[str]:
    return sorted(name for name in set(imports(source)) if not allowed(module, name))


@pytest.mark.parametrize("path", sources(), ids=lambda path: module_of(path) or "gateway")
def test_imports_only_what_its_place_allows(path: Path) -> None:
    assert violations(module_of(path), path.read_text(encoding="utf-8")) == []


def test_every_part_has_a_row() -> None:
    assert {module_of(path).split(".")[0] for path in sources()} - {""} <= OURS.keys()


@pytest.mark.parametrize("stray", ["twisted/__init__.py", "twisted/plugins/__init__.py"])
def test_twisted_folder_shadows_nothing(stray: str) -> None:
    """The first would hide Twisted from whoever runs in the checkout, the second our plugin from Twisted."""
    assert not (ROOT / stray).exists()


PLANTED = [
    ("accounts.authenticator", "from gateway import store", "gateway.store"),
    ("accounts.authenticator", "from gateway.store.outbox import SqlOutbox", "gateway.store.outbox.SqlOutbox"),
    ("accounts.verifier", "import threading", "threading"),
    ("accounts.clock", "from threading import get_native_id", "threading.get_native_id"),
    ("accounts.clock", "from twisted.internet import reactor", "twisted.internet.reactor"),
    ("accounts.clock", "from twisted.internet.task import Clock", "twisted.internet.task.Clock"),
    ("edge.server", "from twisted.internet import reactor", "twisted.internet.reactor"),
    ("edge.server", "import gateway.store.directory", "gateway.store.directory"),
    ("smtp.server", "import time", "time"),
    ("smtp.server", "from time import monotonic", "time.monotonic"),
    ("smtp.server", "from gateway.message.header import Header", "gateway.message.header.Header"),
    ("smtp.server", "def f() -> None:\n    import structlog", "structlog"),
    ("message.prepare", "from . import header", "..header"),
    ("queue.runner", "import sqlalchemy as sa", "sqlalchemy"),
    ("reply", "from gateway.errors import Refused", "gateway.errors.Refused"),
    ("relay.pool", "import requests", "requests"),
    ("service", "import asyncio", "asyncio"),
]


@pytest.mark.parametrize(("module", "source", "name"), PLANTED)
def test_a_planted_violation_is_seen(module: str, source: str, name: str) -> None:
    assert violations(module, f'"""Doc."""\nimport os\n{source}\n') == [name]


CLEAN = [
    ("accounts.clock", "from twisted.internet.defer import Deferred"),
    ("accounts.hash_threads", "from threading import get_native_id"),
    ("queue.report", "from gateway.message import report"),
    ("service", "from twisted.internet import reactor\nfrom gateway.store.outbox import SqlOutbox"),
    ("stores", "import time"),
    ("metrics", "from gateway import __version__"),
]


@pytest.mark.parametrize(("module", "source"), CLEAN)
def test_the_ladder_downwards_is_open(module: str, source: str) -> None:
    assert violations(module, source) == []
