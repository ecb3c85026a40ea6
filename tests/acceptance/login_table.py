"""A product's login table, as the product changes it: its own SQLite file, its own bcrypt hashes, its own driver."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import bcrypt

COST = 4  # the least that bcrypt takes

# [accounts] of a gateway whose accounts have all that is optional
OWN_LIMITS = {"columns": {name: name for name in ("max_message_size", "daily_recipients", "smtp_enabled")}}

_CREATE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE, password_hash TEXT, is_active INTEGER,
                    max_message_size INTEGER, daily_recipients INTEGER, smtp_enabled INTEGER)
"""


class LoginTable:
    """Each change is committed when its method returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run(_CREATE)

    def add(self, login: str, password: str, *, cost: int = COST, size: int | None = None, daily: int | None = None) -> None:
        """`size`: the account's own limit of a message, in octets; `daily`: of recipients, 0 for none."""
        self._run("INSERT INTO users VALUES (NULL, ?, ?, 1, ?, ?, 1)", login, hashed(password, cost), size, daily)

    def set_password(self, login: str, password: str, *, cost: int = COST) -> None:
        self._run("UPDATE users SET password_hash = ? WHERE email = ?", hashed(password, cost), login)

    def set_active(self, login: str, *, active: bool) -> None:
        self._run("UPDATE users SET is_active = ? WHERE email = ?", active, login)

    def set_size(self, login: str, octets: int | None) -> None:
        self._run("UPDATE users SET max_message_size = ? WHERE email = ?", octets, login)

    def set_daily(self, login: str, recipients: int | None) -> None:
        self._run("UPDATE users SET daily_recipients = ? WHERE email = ?", recipients, login)

    def set_smtp(self, login: str, *, enabled: bool) -> None:
        """Whether the login's own password may be used for SMTP."""
        self._run("UPDATE users SET smtp_enabled = ? WHERE email = ?", enabled, login)

    def delete(self, login: str) -> None:
        self._run("DELETE FROM users WHERE email = ?", login)

    def hash_of(self, login: str) -> str:
        return str(self._run("SELECT password_hash FROM users WHERE email = ?", login)[0][0])

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The table cannot be read meanwhile."""
        self._run("ALTER TABLE users RENAME TO users_away")
        try:
            yield
        finally:
            self._run("ALTER TABLE users_away RENAME TO users")

    def _run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=60.0)) as connection, connection:
            return connection.execute(statement, values).fetchall()


def hashed(password: str, cost: int) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode("ascii")
