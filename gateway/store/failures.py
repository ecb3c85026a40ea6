"""What a database driver's error means to the rest of the gateway: `Unavailable`, or `StorageFull`.

The text kept is for the log and holds no bound value: servers like to quote the offending row, so for them only
the error's class and code are kept, unless no statement was involved yet.

Three kinds of Unavailable are this package's own. `Undone` and `Disconnected` say what became of the transaction, `Unfit` that
one value is to blame, so that the same write for others may well succeed.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, exc

from gateway.errors import Damaged, StorageFull, Unavailable

T = TypeVar("T")


class Undone(Unavailable):
    """The transaction is rolled back for certain, and may well succeed when it is run again."""


class Unfit(Unavailable):
    """The database cannot hold one of the values, however often it is written."""


class Disconnected(Unavailable):
    """The connection is of no use any more. What was not committed is rolled back; a COMMIT under way may have worked."""


# PostgreSQL's serialization_failure and deadlock_detected: the server ends a transaction so that others can go on
_UNDONE_CODES = frozenset({"40001", "40P01"})
# PostgreSQL's read_only_sql_transaction: what was the primary has become a stand-by
_STANDBY_CODES = frozenset({"25006"})
_FULL_CODES = frozenset({"53100"})  # PostgreSQL disk_full
_CLIENT_ERRORS = range(2000, 3000)  # PyMySQL: the client's own (CR_*), about the connection

# A text that the table's character set cannot hold. PostgreSQL: untranslatable_character. MySQL: ER_CANT_AGGREGATE_2COLLATIONS,
# ..._3COLLATIONS, ..._NCOLLATIONS, ER_CANNOT_CONVERT_STRING
_NO_SUCH_TEXT = frozenset({"22P05", 1267, 1270, 1271, 3988})

# What the mapping or the grants lack. Their text names tables and columns, which an operator must see, and never a value.
# PostgreSQL: undefined_column, undefined_table, invalid_schema_name, insufficient_privilege. MySQL: ER_BAD_FIELD_ERROR,
# ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR, ER_NO_SUCH_TABLE
_MISFIT = frozenset({"42703", "42P01", "3F000", "42501", 1054, 1142, 1143, 1146})


def unavailable(error: Exception) -> Unavailable:
    """`error`, one of SQLAlchemy's or about a text, as ours."""
    if isinstance(error, UnicodeError):
        return Unfit("database: a value is no text")  # its own message quotes the octets
    if not isinstance(error, exc.DBAPIError):
        return Unavailable("database: no connection free in time")
    orig = error.orig
    code = getattr(orig, "sqlite_errorname", "") or getattr(orig, "sqlstate", None) or ""
    if _is_full(orig, code):
        return StorageFull("database: the disk is full")
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged("database: the SQLite file is damaged")
    return _kind(error, code)(f"database: {_text(orig, code)}")


def _kind(error: exc.DBAPIError, code: str) -> type[Unavailable]:
    if code in _UNDONE_CODES:
        return Undone
    if is_about_a_value(error):
        return Unfit
    return Disconnected if error.connection_invalidated or code in _STANDBY_CODES else Unavailable


def _is_full(orig: BaseException | None, code: str) -> bool:
    return code in _FULL_CODES or code == "SQLITE_FULL" or "database or disk is full" in str(orig)


def _text(orig: BaseException | None, code: str) -> str:
    kind = type(orig)
    if "sqlite" in kind.__module__ or not kind.__module__.startswith(("psycopg", "pymysql")):
        return f"{kind.__name__}: {orig}"  # SQLite names tables, columns and constraints, never values
    if kind.__module__.startswith("psycopg"):
        return f"{kind.__name__}: {_first_line(str(orig))}" if not code or code in _MISFIT else f"{kind.__name__} {code}"
    number = _number(orig)
    shown = number in _CLIENT_ERRORS or number in _MISFIT
    return f"{kind.__name__} {_first_line(str(orig)) if shown else number}"


def _number(orig: BaseException | None) -> object:
    """MySQL's code of an error."""
    return orig.args[0] if orig is not None and orig.args else 0


def is_no_such_text(error: Exception) -> bool:
    """Whether a parameter cannot even be written in the table's character set, so that no row can be equal to it."""
    orig = error.orig if isinstance(error, exc.DBAPIError) else error
    return isinstance(orig, UnicodeEncodeError) or bool({getattr(orig, "sqlstate", None), _number(orig)} & _NO_SUCH_TEXT)


def none_if_no_such_text(
    read: Callable[[Connection, Collection[str]], dict[str, T | None]],
) -> Callable[[Connection, Collection[str]], dict[str, T | None]]:
    """`read`, which has None for a text that the database cannot even hold: no row has it."""

    def reading(connection: Connection, texts: Collection[str]) -> dict[str, T | None]:
        try:
            return read(connection, texts)
        except (exc.DBAPIError, UnicodeError) as error:
            if len(texts) > 1 or not is_no_such_text(error):
                raise
            return dict.fromkeys(texts)

    return reading


def is_about_a_value(error: Exception) -> bool:
    """Whether one parameter or one row is to blame, so that the same query for others may well succeed."""
    return isinstance(error, exc.DataError | UnicodeError) or is_no_such_text(error)


def is_about_the_database(error: Exception) -> bool:
    """Whether the same query with other parameters would fail as well."""
    return isinstance(error, exc.DBAPIError | exc.TimeoutError | Unavailable) and not is_about_a_value(error)


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:200]


@contextmanager
def translated() -> Iterator[None]:
    """Turn a driver's error into Unavailable (Undone, Disconnected) or StorageFull; every other exception passes."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, UnicodeError) as error:
        # from None: the driver's own text, which may quote a row, must not come along in a traceback
        raise unavailable(error) from None
