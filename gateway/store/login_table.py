"""The product's login table through the column mapping: the queries for some logins, and how a row of it reads.

A database finds rows by rules of its own: MySQL's collations make one of "e" and "é" and of "a@b" and "a@b ". So its answer is
a first choice only, and a row counts for a login when both have the same `LoginTable.key`.

The table is described from the configuration and never reflected, so that a database that is down does not stop a start.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    CHAR,
    ColumnClause,
    ColumnElement,
    Dialect,
    Row,
    Select,
    String,
    TableClause,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    select,
    table,
)
from sqlalchemy.types import NullType

from gateway import address
from gateway.accounts.model import MAX_LOGIN, LoginRow
from gateway.config import Accounts

MAX_DAILY = 2**31 - 1  # recipients: what the store's columns hold
_TRUE_WORDS = frozenset({"true", "t", "yes", "y", "on", "1", "active", "enabled"})


class _Lowered(TypeDecorator[str]):
    """A parameter that the database makes lower case, by the same rules as the column it is compared with."""

    impl = String
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> ColumnElement[str]:
        return func.lower(bindparam)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value


class LoginTable:
    """`dialect` is SQLAlchemy's name of the database: "sqlite", "postgresql", "mysql" or "mariadb"."""

    def __init__(self, accounts: Accounts, dialect: str) -> None:
        self._case_sensitive = accounts.case_sensitive
        self._dialect = dialect
        self._active = accounts.columns.active
        self._named = _columns(accounts)
        self.table = foreign_table(accounts.table, self._named.values())
        self._by_login = {folds: self._query(folds) for folds in (False, True)}
        chosen = {name: c for name, c in self._selected().items() if name in ("id", "active")}
        named = self._named["id"]
        ids = bindparam("ids", expanding=True, type_=NullType())
        self.by_id = select(*(c.label(name) for name, c in chosen.items())).select_from(self.table).where(named.in_(ids))
        self.whole_by_id = self._whole().where(named.in_(ids))
        self.any_id: Select[Any] = select(named).select_from(self.table).where(named.is_not(None)).limit(1)
        self.sample: Select[Any] = select(self._named["password"]).select_from(self.table).limit(bindparam("most"))
        self.newest: Select[Any] = self.sample.order_by(self._named["id"].desc())

    def by_login(self, *, folds: bool) -> Select[Any]:
        """The rows for "logins", a list as people type them. `folds`: the login column sets case aside by itself."""
        return self._by_login[folds]

    def key(self, login: str) -> str:
        """What two spellings of one login share, exactly as the database compares them.

        No casefold: it makes one of "strasse" and "straße", which are two accounts. NOCASE knows ASCII only.
        """
        if self._case_sensitive:
            return login
        return address.ascii_lower(login) if self._dialect == "sqlite" else login.lower()

    def read(self, row: Row[Any]) -> LoginRow:
        values = row._mapping
        return LoginRow(
            id=as_id(values["id"]),
            login=as_text(values["login"]),
            stored=as_text(values["password"]),
            active=self._is_active(values),
            smtp_enabled="smtp_enabled" not in values or values["smtp_enabled"] is None or is_true(values["smtp_enabled"]),
            max_message_size=_positive(values.get("max_message_size")),
            daily_recipients=daily(values.get("daily_recipients")),
        )

    def _query(self, folds: bool) -> Select[Any]:
        login, typed = self._comparison(folds)
        where = login.in_(bindparam("logins", expanding=True, type_=typed))
        return self._whole().where(where)

    def _whole(self) -> Select[Any]:
        return select(*(c.label(name) for name, c in self._selected().items())).select_from(self.table)

    def _comparison(self, folds: bool) -> tuple[ColumnElement[Any], Any]:
        """The left side of the comparison, in a form that an index can serve, and the type of the right one.

        NullType: psycopg would cast a string to varchar, and a citext compares with that by case.
        """
        login = self._named["login"]
        if self._case_sensitive or (folds and self._dialect != "sqlite"):
            return login, NullType()
        if self._dialect == "sqlite":
            return login.collate("NOCASE"), NullType()
        if self._dialect in ("mysql", "mariadb"):  # no index serves it: `doctor` says so
            return cast(login, CHAR).collate("utf8mb4_general_ci"), NullType()
        return func.lower(login), _Lowered()

    def _selected(self) -> dict[str, ColumnElement[Any]]:
        chosen: dict[str, ColumnElement[Any]] = dict(self._named)
        if self._active is not None and self._active.form == "null":
            # Asked of the database: not every date that is there can be read here ("infinity", "0000-00-00")
            chosen["active"] = self._named["active"].is_(None)
        if self._dialect == "postgresql":
            chosen["login"] = cast(self._named["login"], Text)  # a char(n) comes without its padding
        return chosen

    def is_active(self, row: Row[Any]) -> bool:
        """Of a row of `by_id`."""
        return self._is_active(row._mapping)

    def _is_active(self, values: Any) -> bool:
        if self._active is None:
            return True
        return is_true(values["active"]) == (self._active.form != "not")


def can_be_login(text: str) -> bool:
    """Whether it is worth a query: no control or invisible character (PostgreSQL fails on NUL), at most MAX_LOGIN octets."""
    return text.isprintable() and 0 < len(text.encode("utf-8")) <= MAX_LOGIN  # a surrogate is not printable


def foreign_table(name: str, columns: Iterable[ColumnClause[Any]]) -> TableClause:
    """A table of the product's, "users" or "app.users"."""
    schema, _, bare = name.rpartition(".")
    return table(bare, *columns, schema=schema or None)


def configured_columns(accounts: Accounts) -> dict[str, str]:
    """What is configured: our name of a column to the table's, those left empty not among them."""
    c = accounts.columns
    named = {
        "id": c.id,
        "login": c.login,
        "password": c.password,
        "active": c.active.column if c.active else "",
        "max_message_size": c.max_message_size,
        "daily_recipients": c.daily_recipients,
        "smtp_enabled": c.smtp_enabled,
    }
    return {ours: theirs for ours, theirs in named.items() if theirs}


def _columns(accounts: Accounts) -> dict[str, ColumnClause[Any]]:
    return {ours: column(theirs) for ours, theirs in configured_columns(accounts).items()}


def is_true(value: object) -> bool:
    """A flag as products keep it: boolean, number, bit, word, or a date that stands for yes."""
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)  # MySQL's BIT(1) comes as one octet
        return is_true(raw.decode("latin-1")) if raw.isalnum() else any(raw)
    if isinstance(value, str):
        return value.strip().lower() in _TRUE_WORDS
    return bool(value)


def as_id(value: object) -> str:
    """The account's id as text; a binary one (UUID in MySQL) in hexadecimal; "" for NULL."""
    if value is None:
        return ""
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def as_text(value: object) -> str:
    """NULL is ""; octets that are no UTF-8 are replaced, and then match nothing."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def _positive(value: Any) -> int | None:
    return _number(value) or None


def daily(value: Any) -> int | None:
    """A limit of recipients; 0 stands for none at all."""
    number = _number(value)
    return None if number is None else min(number, MAX_DAILY)


def _number(value: Any) -> int | None:
    """None for what is negative, and for what is no number."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 else None
