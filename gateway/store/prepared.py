"""Statements that are compiled once and given to the driver directly, for the few that every message needs.

What SQLAlchemy does anew for each execution costs ten times what SQLite needs for the statement itself, and other threads wait
meanwhile. So values go to the driver as they are (text, numbers, octets, None) and rows come as it gives them; lists of values
cannot be bound. What goes wrong is SQLAlchemy's to judge all the same: it knows which errors mean that the connection is lost.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql import ClauseElement


class Prepared:
    """`statement` on any kind of database. It begins no transaction: that is the caller's."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._texts: dict[str, tuple[str, tuple[str, ...] | None, dict[str, Any]]] = {}  # by kind; see _compiled
        self._row: Callable[[Any], Any] | None = None  # a row as the driver gives it, with the names of its columns

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Execute it; its rows, as named tuples. Raises what `Connection.execute` does."""
        dialect = connection.dialect
        text, positions, constants = self._texts.get(dialect.name) or self._compiled(dialect)
        named: Any = {**constants, **values}
        bound = named if positions is None else tuple([named[name] for name in positions])
        cursor = None
        try:
            cursor = connection.connection.cursor()
            for listener in connection.dispatch.before_cursor_execute:  # who wants to hear what is sent
                listener(connection, cursor, text, bound, None, False)
            cursor.execute(text, bound)
            rows = self._named(cursor) if cursor.description else ()
        except dialect.loaded_dbapi.Error as error:
            # The part of `Connection.execute` that does this has no public name
            connection._handle_dbapi_exception(error, text, None, cursor, None)
        cursor.close()
        return rows

    def _named(self, cursor: Any) -> list[Any]:
        if self._row is None:
            self._row = namedtuple("Row", [column[0] for column in cursor.description])._make  # type: ignore[attr-defined]
        return [self._row(row) for row in cursor.fetchall()]

    def _compiled(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
        """Its text, the names of its values where they go by their position, and those that are always the same."""
        compiled: Any = self._statement.compile(dialect=dialect)
        positions = tuple(compiled.positiontup) if compiled.positional else None
        self._texts[dialect.name] = found = str(compiled), positions, dict(compiled.params)
        return found
