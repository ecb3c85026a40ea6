"""What is wrong with the configured login table, for `doctor`: each finding names the setting and what would be right.

Nothing of a row is ever shown: of a stored hash, only its kind.
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Inspector, func, inspect, literal, select

from gateway.accounts import schemes
from gateway.config import Accounts
from gateway.errors import ConfigError, Unavailable
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated
from gateway.store.login_table import LoginTable, as_text, configured_columns, foreign_table

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
        yield from _index(connection, inspector, accounts)
        yield from _hashes(connection, accounts)


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


def _index(connection: Connection, inspector: Inspector, accounts: Accounts) -> Iterator[Finding]:
    login = accounts.columns.login
    dialect = connection.dialect.name
    if dialect == "sqlite":
        served, form = _sqlite_searches(connection, accounts), login if accounts.case_sensitive else f"{login} COLLATE NOCASE"
    else:
        lowered = dialect == "postgresql" and not accounts.case_sensitive
        served, form = _has_index(inspector, accounts, lowered=lowered), f"lower({login})" if lowered else login
    if served:
        yield Finding("ok", "accounts.columns.login", "an index serves the look-up")
    else:
        cure = f"CREATE INDEX ... ON {accounts.table} ({form})"
        yield Finding(
            "warning", "accounts.columns.login", f"no index serves the look-up, each sign-in reads the whole table; {cure}"
        )


def _sqlite_searches(connection: Connection, accounts: Accounts) -> bool:
    """Whether SQLite's plan for our own query is a search rather than a scan."""
    query = LoginTable(accounts, "sqlite").by_login.params(logins=["a@b"])
    sql = query.compile(connection, compile_kwargs={"render_postcompile": True})
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", ("a@b",))
    return all("SCAN" not in row[-1] for row in plan)


def _has_index(inspector: Inspector, accounts: Accounts, *, lowered: bool) -> bool:
    """Whether an index or key begins with the login column (with lower() of it). A view has none of its own: no finding."""
    schema, _, name = accounts.table.rpartition(".")
    if name in inspector.get_view_names(schema or None):
        return True
    first = [(index.get("expressions") or index["column_names"])[:1] for index in inspector.get_indexes(name, schema or None)]
    if lowered:
        return any(f and f[0] and "lower(" in f[0] and accounts.columns.login in f[0] for f in first)
    keys = inspector.get_pk_constraint(name, schema or None)["constrained_columns"][:1]
    return [accounts.columns.login] in [*first, keys]


def _hashes(connection: Connection, accounts: Accounts) -> Iterator[Finding]:
    table = LoginTable(accounts, connection.dialect.name)
    stored = [as_text(value) for value in connection.execute(table.sample, {"most": SAMPLE}).scalars()]
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
