"""`Config`: all tables of the file together."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import PrivateAttr

from gateway.config import clear_text
from gateway.config.login_table import Accounts
from gateway.config.sections import Http, Limits, Listen, Lockout, Log, Relay, Section, Senders, Server, Store, Tls
from gateway.config.values import NonEmpty


class Config(Section):
    """The whole file; every path and SQLite file in it is absolute."""

    server: Server
    listen: Annotated[tuple[Listen, ...], NonEmpty]
    tls: Tls
    accounts: Accounts
    store: Store
    lockout: Lockout
    limits: Limits
    senders: Senders
    relay: Relay
    http: Http
    log: Log
    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        if context:
            self._path = context["path"]

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._path

    @property
    def base(self) -> Path:
        """The folder of the file: relative paths start here."""
        return self._path.parent

    @property
    def warnings(self) -> tuple[str, ...]:
        """What can be used but should be known, "key.path: what", a line each: for the start of the server and `doctor`."""
        return tuple(clear_text.warnings(self.listen, self.relay.next_hop))
