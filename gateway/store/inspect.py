"""What is wrong with the configured login table, for `doctor`: each finding names the setting and what would be right.

Nothing of a row is ever shown: of a stored hash, only its kind.
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, exc, func, inspect, literal, select

from gateway.accounts import schemes
from gateway.config import Accounts
from gateway.errors import ConfigError, Unavailable
from gateway.store import plans
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated, unavailable
from gateway.store.login_table import as_text, configured_columns, foreign_table
from gateway.store.lookup import NOBODY, Lookup

Level = Literal["ok", "warning", "problem"]
SAMPLE = 100  # stored hashes looked at
COUNTED = 100_000  # rows: a whole count of a very large table would run into the time limit


@dataclass(frozen=True, slots=True)
class Finding:
    """`key` is the setting it is about, "accounts.columns.login"."""

    level: Level
    key: str
    text: str


def inspect_accounts(accounts: Accounts) -> list[Finding]:
    """Look at the table as the server would, with its rights. Raises nothing: an outage is a finding."""
    try:
        engine = accounts_engine(accounts.url.get_secret_value(), connections=1)
    except ConfigError as error:
        return [Finding("problem", *problem.split(": ", 1)) for problem in error.problems]
    try:
        with translated(), engine.connect() as connection:
            return list(_findings(connection, accounts))
    except Unavailable as error:
        return [Finding("problem", "accounts.url", f"cannot be read: {error}")]
    finally:
        engine.dispose()


def _findings(connection: Connection, accounts: Accounts) -> Iterator[Finding]:
    inspector = inspect(connection)
    schema, _, name = accounts.table.rpartition(".")
    if not inspector.has_table(name, schema or None):
        there = sorted({*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)})
        yield Finding(
            "problem", "accounts.table", f'no table or view "{accounts.table}"; there is {_list(there)}{_meant(name, there)}'
        )
        return
    real = [str(column["name"]) for column in inspector.get_columns(name, schema or None)]
    missing = [*_missing_columns(accounts, real)]
    yield from missing
    if not missing:
        yield _rows(connection, accounts)
        lookup = Lookup(accounts, connection.dialect.name)
        yield from _index(connection, lookup, accounts)
        yield from _hashes(connection, lookup)


def _rows(connection: Connection, accounts: Accounts) -> Finding:
    some = select(literal(1)).select_from(foreign_table(accounts.table, [])).limit(COUNTED + 1).subquery()
    rows = connection.execute(select(func.count()).select_from(some)).scalar_one()
    shown = f"more than {COUNTED}" if rows > COUNTED else rows
    return Finding("ok" if rows else "warning", "accounts.table", f'"{accounts.table}" has {shown} rows')


def _missing_columns(accounts: Accounts, real: list[str]) -> Iterator[Finding]:
    for ours, theirs in configured_columns(accounts).items():
        if theirs not in real:
            unless = '; set it to "" if there is none' if ours not in ("id", "login", "password") else ""
            text = f'"{accounts.table}" has no column "{theirs}"; it has {_list(real)}{_meant(theirs, real)}{unless}'
            yield Finding("problem", f"accounts.columns.{ours}", text)


def _index(connection: Connection, lookup: Lookup, accounts: Accounts) -> Iterator[Finding]:
    """What the server says about our own query; that it can be run at all is shown by running it."""
    key = "accounts.columns.login"
    try:
        lookup.find(connection, [NOBODY])
        served = plans.is_served(connection, lookup)
    except exc.DBAPIError as error:
        yield Finding("problem", key, f'the look-up by "{accounts.columns.login}" fails: {unavailable(error)}')
        return
    if served:
        yield Finding("ok", key, "an index serves the look-up")
    else:
        cure = _cure(connection.dialect.name, accounts, folds=lookup.folds(connection))
        yield Finding("warning", key, f"no index serves the look-up, each sign-in reads the whole table; {cure}")


def _cure(dialect: str, accounts: Accounts, *, folds: bool) -> str:
    login = accounts.columns.login
    if dialect in ("mysql", "mariadb") and not folds and not accounts.case_sensitive:
        return f"give {login} a collation that ends in _ci, or set case_sensitive = true"
    plain = accounts.case_sensitive or folds
    form = login if plain else f"{login} COLLATE NOCASE" if dialect == "sqlite" else f"lower({login})"
    return f"CREATE INDEX ... ON {accounts.table} ({form})"


def _hashes(connection: Connection, lookup: Lookup) -> Iterator[Finding]:
    stored = [as_text(value) for value in connection.execute(lookup.table.sample, {"most": SAMPLE}).scalars()]
    kinds = Counter(schemes.scheme(one) for one in stored)
    if not kinds:
        return
    seen = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
    if kinds["unknown"] == len(stored):
        yield Finding(
            "problem", "accounts.columns.password", "holds no kind of password hash that is known; nobody can sign in"
        )
    elif kinds["unknown"]:
        yield Finding(
            "warning", "accounts.columns.password", f"some hashes are of no known kind, their owners cannot sign in: {seen}"
        )
    else:
        yield Finding("ok", "accounts.columns.password", f"kinds of hashes among {len(stored)}: {seen}")


def _list(names: list[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "none"


def _meant(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f'; did you mean "{close[0]}"?' if close else ""
