"""The embedded login table of a fresh installation: its rows, and how it is told from a table of somebody's own.

The gateway itself only ever reads a login table. These functions write, so they insist on the mark (SQLite's
application id) that `create` leaves in the file.
"""

import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import IntegrityError

from gateway import address
from gateway.accounts import schemes
from gateway.errors import NotFound
from gateway.store.engine import new_store_engine, opened
from gateway.store.failures import translated

DEMO_LOGIN = "demo@example.com"
_MARK = 0x47574C54  # "GWLT" in the file's header: gateway login table

_CREATE = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1,
    max_message_size INTEGER,
    daily_recipients INTEGER
)
"""  # AUTOINCREMENT: a deleted account's id must not come back, since its mail is kept under it
_COMPLETE = "ALTER TABLE users ADD COLUMN daily_recipients INTEGER"  # for a table that an earlier version made
_LIST = text("SELECT id, email, is_active, max_message_size, daily_recipients, password_hash FROM users ORDER BY email")
_ADD = text(
    "INSERT INTO users (email, password_hash, max_message_size, daily_recipients) VALUES (:login, :stored, :size, :recipients)"
)
_PASSWORD = text("UPDATE users SET password_hash = :stored WHERE email = :login")
_ACTIVE = text("UPDATE users SET is_active = :active WHERE email = :login")
_DELETE = text("DELETE FROM users WHERE email = :login")


class NotOurs(NotFound):
    """The login table is somebody's own: the gateway reads it and never writes to it."""


class Rejected(NotFound):
    """A login or password that the table will not take; `str()` says why in one line."""


@dataclass(frozen=True, slots=True)
class DemoAccount:
    id: int
    login: str
    active: bool
    max_message_size: int | None  # octets
    daily_recipients: int | None  # 0: no limit
    stored: str = field(repr=False)


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL; None for any other database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith("file:"):
        return None
    return Path(parsed.database)


def create(url: str, login: str, password: str) -> None:
    """Make the file, with one account: all of it or nothing. Raises Rejected, Unavailable, OSError."""
    path = file_of(url)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600, exist_ok=False)
    engine = new_store_engine(url)
    try:
        with translated(), engine.begin() as connection:
            connection.exec_driver_sql(_CREATE)
            connection.exec_driver_sql(f"PRAGMA application_id = {_MARK}")
            add(connection, login, password)
    except BaseException:
        path.unlink()
        raise
    finally:
        engine.dispose()


def is_demo(url: str) -> bool:
    """Whether `url` names a table that `create` made. Raises Unavailable when the file cannot be read."""
    path = file_of(url)
    if path is None or not path.exists():
        return False
    with opened(url, write=False) as connection:
        return _marked(connection)


@contextmanager
def table(url: str) -> Iterator[Connection]:
    """The table in one transaction. Raises NotOurs, Unavailable."""
    if not is_demo(url):
        raise NotOurs(
            "accounts.url: this is your own login table, which the gateway only reads; "
            "change accounts where your product does. These commands work on the table that `smtp-gateway init` makes."
        )
    with opened(url, write=True) as connection:
        if "daily_recipients" not in connection.exec_driver_sql("SELECT name FROM pragma_table_info('users')").scalars().all():
            connection.exec_driver_sql(_COMPLETE)
        yield connection


def _marked(connection: Connection) -> bool:
    return connection.exec_driver_sql("PRAGMA application_id").scalar() == _MARK


def accounts(connection: Connection) -> list[DemoAccount]:
    return [DemoAccount(row[0], row[1], bool(row[2]), *row[3:]) for row in connection.execute(_LIST)]


def add(
    connection: Connection,
    login: str,
    password: str,
    *,
    max_message_size: int | None = None,
    daily_recipients: int | None = None,
) -> None:
    """Raises Rejected for a login that is no address or is there already."""
    try:
        address.parse(login)
    except address.AddressError as error:
        raise Rejected(f"{login}: not an e-mail address: {error}") from None
    row = {"login": login, "stored": _hashed(password), "size": max_message_size, "recipients": daily_recipients}
    try:
        connection.execute(_ADD, row)
    except IntegrityError:
        raise Rejected(f"{login}: there is such an account already") from None


def set_password(connection: Connection, login: str, password: str) -> None:
    """Counts from the next command of every session on. Raises NotFound, Rejected."""
    _one(connection.execute(_PASSWORD, {"login": login, "stored": _hashed(password)}).rowcount, login)


def set_active(connection: Connection, login: str, *, active: bool) -> None:
    """Raises NotFound."""
    _one(connection.execute(_ACTIVE, {"login": login, "active": active}).rowcount, login)


def delete(connection: Connection, login: str) -> None:
    """Raises NotFound."""
    _one(connection.execute(_DELETE, {"login": login}).rowcount, login)


def _one(changed: int, login: str) -> None:
    if not changed:
        raise NotFound(f"{login}: no such account; `smtp-gateway accounts list` shows them")


def _hashed(password: str) -> str:
    octets = password.encode("utf-8")
    if not octets:
        raise Rejected("an empty password is not taken")
    if len(octets) > schemes.BCRYPT_OCTETS:
        raise Rejected(f"the password is longer than {schemes.BCRYPT_OCTETS} octets, and bcrypt would not read the rest")
    return schemes.bcrypt_hash(octets)


def random_password(length: int = 16) -> str:
    """Letters and digits, without those that look alike: 93 bits at 16."""
    alphabet = "".join(c for c in string.ascii_letters + string.digits if c not in "0O1lI")
    return "".join(secrets.choice(alphabet) for _ in range(length))
