"""Whose sheets an operator means: an account by its login or its id, a login that no account has, or a network."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from gateway.accounts.lockout import account_subject, login_subject
from gateway.accounts.model import LoginRow
from gateway.cli.login import TableHere, result_of
from gateway.cli.settings import Settings
from gateway.config import Lockout
from gateway.edge.limits import network_of
from gateway.errors import NotFound
from gateway.store.engine import accounts_engine
from gateway.store.login_table import LoginTable


@contextmanager
def _login_table(settings: Settings) -> Iterator[Engine]:
    engine = accounts_engine(settings.accounts_url, connections=1)
    try:
        yield engine
    finally:
        engine.dispose()


def account_of(settings: Settings, login: str) -> LoginRow:
    """The account that signs in as `login`. Raises NotFound, Unavailable."""
    with _login_table(settings) as engine:
        row = result_of(TableHere(settings.config.accounts, engine).find(login))
    if row is None:
        raise NotFound(f"no account has the login {login}")
    return row


def subjects_of(settings: Settings, name: str) -> set[str]:
    """Every sheet that `name` can stand for: an account's login, an account's id, a login without an account.

    Raises Unavailable.
    """
    accounts = settings.config.accounts
    with _login_table(settings) as engine:
        row = result_of(TableHere(accounts, engine).find(name))
        key = LoginTable(accounts, engine.dialect.name).key(name)
    found = {account_subject(name), login_subject(key)}
    return found | {account_subject(row.id)} if row is not None else found


def network_named(name: str, rules: Lockout) -> str:
    """`name` as a network of the sheets: an address counts with the configured prefix. "" when it is neither."""
    try:
        if "/" in name:
            return str(ipaddress.ip_network(name, strict=False))
        return network_of(name, rules.ipv4_prefix, rules.ipv6_prefix)
    except ValueError:
        return ""
