"""The configuration as the commands get it: read when first asked for, so that `init` can run without one."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import click

from gateway.config import Config, load

_OWN = ("server", "store", "lockout", "limits")  # tables


class Settings:
    """The file that --config names, and the environment it may refer to."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.environ = environ

    @cached_property
    def config(self) -> Config:
        """Raises ConfigError."""
        return load(self.path, self.environ)

    @cached_property
    def own(self) -> Config:
        """With the gateway's own tables alone: enough for what only touches the store, and there without the passwords of
        the login table and the next hops, which systemd gives to the server only. Raises ConfigError.
        """
        return load(self.path, self.environ, only=_OWN)

    @cached_property
    def with_accounts(self) -> Config:
        """As `own`, with the login table: enough for what is about accounts, without the passwords of the next hops.

        Raises ConfigError.
        """
        return load(self.path, self.environ, only=(*_OWN, "accounts"))

    @property
    def accounts_url(self) -> str:
        return self.with_accounts.accounts.url.get_secret_value()

    @property
    def store_url(self) -> str:
        return self.own.store.url.get_secret_value()


pass_settings = click.make_pass_decorator(Settings)
