"""Many rows as one value of a statement, for all that a group of items writes into one table.

A driver binds, steps and resets a statement once for each row of an executemany, and hands Python's lock over each time,
which a busy thread beside it makes dear. Here the rows are one JSON text, and the database takes it apart by itself. Octets,
which JSON has no place for, are one value more: those of all rows, and each row says where its own are.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Integer, LargeBinary, Text, bindparam, cast, func, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

ROWS_AT_ONCE = 10_000  # in one statement, which PostgreSQL ends after a few seconds (store/engine.py)
_ROWS: BindParameter[Any] = bindparam("rows", type_=Text)
_OCTETS: BindParameter[Any] = bindparam("octets", type_=LargeBinary)


class _each(FunctionElement[Any]):  # noqa: N801  (reads as the SQL function that it is)
    name = "given"
    inherit_cache = True


@compiles(_each, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_each, "postgresql")
def _postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **options)} AS json))"


GIVEN = _each(_ROWS).table_valued("value", name="given")


def given(position: int, type_: type[TypeEngine[Any]]) -> ColumnElement[Any]:
    """The column at `position`, from 0, of the rows that `as_rows` has made."""
    return cast(GIVEN.c.value.op("->>")(literal_column(str(position))), type_)


def given_octets(position: int) -> ColumnElement[Any]:
    """Those of which the columns at `position` and after it are what `Octets.add` has answered."""
    return func.substr(_OCTETS, given(position, Integer), given(position + 1, Integer))


class Octets:
    """Those of all rows, one after the other."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes | None) -> tuple[int, int] | tuple[None, None]:
        """Where they begin, from 1, and how many they are."""
        if part is None:
            return None, None
        start = self._size + 1
        self._parts.append(part)
        self._size += len(part)
        return start, len(part)

    def values(self) -> dict[str, bytes]:
        """What the statement needs besides `as_rows`."""
        return {"octets": b"".join(self._parts)}


def as_rows(rows: Iterable[Sequence[str | int | float | None]]) -> dict[str, str]:
    """The values of a statement that reads GIVEN."""
    # Not as ASCII: a text that is none must fail when it is bound, as it does by itself
    return {"rows": json.dumps(list(rows), ensure_ascii=False, separators=(",", ":"))}


def in_steps(rows: Sequence[Sequence[str | int | float | None]]) -> Iterator[dict[str, str]]:
    """As `as_rows`, for as many executions as it takes; none for no rows."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield as_rows(rows[start : start + ROWS_AT_ONCE])
