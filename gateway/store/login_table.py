"""The product's login table through the column mapping: the query for some logins, and how a row of it reads.

The table is described from the configuration and never reflected, so that a database that is down does not stop a start.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnClause, ColumnElement, Row, Select, TableClause, bindparam, column, func, select, table

from gateway.accounts.model import MAX_LOGIN, LoginRow
from gateway.config import Accounts

_TRUE_WORDS = frozenset({"true", "t", "yes", "y", "on", "1", "active", "enabled"})
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class LoginTable:
    """`dialect` is SQLAlchemy's name of the database: "sqlite", "postgresql", "mysql" or "mariadb"."""

    def __init__(self, accounts: Accounts, dialect: str) -> None:
        self._case_sensitive = accounts.case_sensitive
        self._dialect = dialect
        self._active = accounts.columns.active
        self._named = _columns(accounts)
        from_ = foreign_table(accounts.table, self._named.values())
        self.by_login: Select[Any] = (
            select(*(c.label(name) for name, c in self._named.items()))
            .select_from(from_)
            .where(self._login().in_(bindparam("logins", expanding=True)))
        )
        self.sample: Select[Any] = select(self._named["password"]).select_from(from_).limit(bindparam("most"))

    def key(self, login: str) -> str:
        """What two spellings of one login share, exactly as the database compares them.

        No casefold: it makes one of "strasse" and "straße", which are two accounts. NOCASE knows ASCII only.
        """
        if self._case_sensitive:
            return login
        return login.translate(_ASCII_LOWER) if self._dialect == "sqlite" else login.lower()

    def read(self, row: Row[Any]) -> LoginRow:
        values = row._mapping
        return LoginRow(
            id=as_id(values["id"]),
            login=as_text(values["login"]),
            stored=as_text(values["password"]),
            active=self._is_active(values),
            smtp_enabled="smtp_enabled" not in values or values["smtp_enabled"] is None or is_true(values["smtp_enabled"]),
            max_message_size=_positive(values.get("max_message_size")),
            daily_recipients=_positive(values.get("daily_recipients")),
        )

    def _login(self) -> ColumnElement[str]:
        """The left side of the comparison, in a form that an index can serve."""
        login = self._named["login"]
        if self._case_sensitive or self._dialect in ("mysql", "mariadb"):  # MySQL's collations set case aside by themselves
            return login
        return login.collate("NOCASE") if self._dialect == "sqlite" else func.lower(login)

    def _is_active(self, values: Any) -> bool:
        if self._active is None:
            return True
        value = values["active"]
        if self._active.form == "null":
            return value is None
        return is_true(value) == (self._active.form == "true")


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
    """The account's id as text; a binary one (UUID in MySQL) in hexadecimal."""
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def as_text(value: object) -> str:
    """NULL is ""; octets that are no UTF-8 are replaced, and then match nothing."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def _positive(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 else None
