"""Accounts of the login table asked for by their ids, whole or only whether they are enabled: one query for all of them, by
the id's own index.

Ids are kept as text (`as_id`), and no database compares text with every type of column as we would. So the column is never
cast; the ids are given as what it holds, and what is found counts only if it reads as the same text.
"""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import Connection, exc

from gateway.accounts.model import LoginRow
from gateway.errors import Unavailable
from gateway.store.failures import is_about_a_value, unavailable
from gateway.store.login_table import LoginTable, as_id
from gateway.store.lookup import Found

_KIND = "gateway.id"  # in a connection's memory: an id of the table, found out once for each


class Standing:
    """The accounts of `table`."""

    def __init__(self, table: LoginTable) -> None:
        self._table = table

    def disabled(self, connection: Connection, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are disabled or not there. Raises what the database raises for all.

        One that cannot be asked about (no value of the column's type, a flag that the driver cannot read) is not among them.
        """
        try:
            rows = connection.execute(self._table.by_id, {"ids": self._values(connection, ids)})
            return set(ids) - {as_id(row.id) for row in rows if self._table.is_active(row)}
        except (exc.DBAPIError, UnicodeError) as error:
            go_on(connection, error)
            return set() if len(ids) == 1 else {id_ for one in ids for id_ in self.disabled(connection, [one])}

    def rows(self, connection: Connection, ids: Sequence[str]) -> dict[str, Found]:
        """For each of `ids` its rows, or why they cannot be read. Raises what the database raises for all."""
        own: dict[str, list[LoginRow]] = {id_: [] for id_ in ids}
        try:
            for row in connection.execute(self._table.whole_by_id, {"ids": self._values(connection, ids)}):
                found = self._table.read(row)
                own.setdefault(found.id, []).append(found)
        except (exc.DBAPIError, UnicodeError) as error:
            go_on(connection, error)
            if len(ids) == 1:
                return {ids[0]: unavailable(error)}
            return {id_: rows for one in ids for id_, rows in self.rows(connection, [one]).items()}
        return {id_: own[id_] for id_ in ids}

    def _values(self, connection: Connection, ids: Sequence[str]) -> list[object]:
        if connection.dialect.name == "sqlite":  # a column may hold all kinds side by side, and may have no type
            return [value for id_ in ids for value in (id_, *_numbers([id_]), *_octets([id_]))]
        if _KIND not in connection.info:
            found = connection.execute(self._table.any_id).scalar()
            if found is None:
                return []  # an empty table
            connection.info[_KIND] = type(found)
        kind = connection.info[_KIND]
        if issubclass(kind, int):
            return [*_numbers(ids)]
        return [*_octets(ids)] if issubclass(kind, bytes | bytearray | memoryview) else [*ids]


def usual(found: Found) -> LoginRow | None:
    """The row that stands for an account: of several (an account may have more logins than one), an enabled one.

    Raises Unavailable, which is what `found` is.
    """
    if isinstance(found, Unavailable):
        raise Unavailable(*found.args)  # another instance: a shared one would gather all its callers' tracebacks
    return min(found, key=lambda row: (not row.active, row.login), default=None)


def go_on(connection: Connection, error: Exception) -> None:
    """Make the connection ready for each id to be asked about alone. Raises `error` when it is about all of them."""
    if not is_about_a_value(error):
        raise error
    if isinstance(error, UnicodeError):
        connection.invalidate()  # the driver may have stopped in the middle of an answer


def _numbers(ids: Sequence[str]) -> list[int]:
    """Those that are numbers of at most 64 bits: SQLite's driver takes no larger ones."""
    found = []
    for id_ in ids:
        with suppress(ValueError):
            found.append(int(id_))
    return [number for number in found if number.bit_length() < 64]


def _octets(ids: Sequence[str]) -> list[bytes]:
    found = []
    for id_ in ids:
        with suppress(ValueError):
            found.append(bytes.fromhex(id_))
    return found
