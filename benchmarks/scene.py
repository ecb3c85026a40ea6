"""What both sides of a benchmark share: certificate, login tables, next hop, load generator, and a folder on a disk."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import trustme

from benchmarks import people
from benchmarks.gateway import Gateway, migrated_store
from benchmarks.load import Generator
from benchmarks.postfix import Postfix
from benchmarks.sink import Sink
from tests.acceptance.installation import chain, merged


class Scene:
    """Servers that it starts live until it ends, unless they are left before."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        folder.chmod(0o755)  # Postfix and Dovecot have users of their own
        self.generator = Generator(folder)
        self.sink = Sink(folder)
        self._ca = trustme.CA()
        self._certificate, self._key = folder / "server.pem", folder / "server.key"
        leaf = self._ca.issue_cert("localhost", "127.0.0.1")
        self._certificate.write_bytes(chain(leaf))
        leaf.private_key_pem.write_to_path(self._key)
        self._template = migrated_store(folder / "template")
        self._number = 0
        self._stack = ExitStack()
        self._ours: Gateway | None = None
        self._peer: Postfix | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self.sink)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def ours(self) -> Gateway:
        """A gateway for the rows that need nothing special."""
        if self._ours is None:
            self._ours = self._stack.enter_context(self.gateway())
        return self._ours

    @property
    def peer(self) -> Postfix:
        """Postfix and Dovecot, for the rows that need nothing special."""
        if self._peer is None:
            self._peer = self._stack.enter_context(self.postfix())
        return self._peer

    def gateway(self, accounts: Path | None = None, settings: Mapping[str, Any] | None = None) -> Gateway:
        """One more, not started yet, with a login table of its own choice."""
        ours = {
            "server": {"workers": self.workers},
            "tls": {"certificate": str(self._certificate), "key": str(self._key)},
            "accounts": {"url": f"sqlite:///{accounts or self.accounts()}"},
            "relay": {"next_hop": [f"smtp://127.0.0.1:{self.sink.port}"]},
        }
        return Gateway(self._next("gateway"), self._ca, self._template, merged(ours, settings or {}))

    def postfix(self, accounts: Path | None = None) -> Postfix:
        """One more, not started yet."""
        return Postfix(self._next("postfix"), accounts or self.accounts(), self.sink.port, self._certificate, self._key)

    def accounts(self, count: int = people.FEW) -> Path:
        """A login table with so many people, made when it is first asked for."""
        path = self.folder / f"accounts-{count}.db"
        if not path.exists():
            people.make_table(path, count)
        return path

    def _next(self, name: str) -> Path:
        self._number += 1
        return self.folder / f"{name}-{self._number}"
