"""Statements that are compiled once, for the few that every message needs.

What SQLAlchemy does anew for each execution costs several times what SQLite needs for the statement itself. So values go to
the driver as they are (text, numbers, octets, None) and rows come as it gives them; lists of values cannot be bound.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect
from sqlalchemy.sql import ClauseElement


class Prepared:
    """`statement` on any kind of database."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._texts: dict[str, tuple[str, tuple[str, ...] | None, dict[str, Any]]] = {}  # by kind; see _compiled

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it. Raises what `Connection.execute` does."""
        dialect = connection.dialect
        text, positions, constants = self._texts.get(dialect.name) or self._compiled(dialect)
        named = {**constants, **values}
        return connection.exec_driver_sql(text, named if positions is None else tuple([named[name] for name in positions]))

    def _compiled(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
        """Its text, the names of its values where they go by their position, and those that are always the same."""
        compiled: Any = self._statement.compile(dialect=dialect)
        positions = tuple(compiled.positiontup) if compiled.positional else None
        self._texts[dialect.name] = found = str(compiled), positions, dict(compiled.params)
        return found
