"""The store's clock as an SQL expression: seconds since 1970 as the database itself has them.

Every time in our rows comes from it, so that no process's wall clock, right or wrong, moves a retry.
"""

from typing import Any

from sqlalchemy import Double, Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[float]):  # noqa: N801  (reads as the SQL function that it is)
    """Seconds since the epoch, with their fraction."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "unixepoch('subsec')"


@compiles(now, "postgresql")
def _postgresql(element: Any, compiler: Any, **options: Any) -> str:
    # Not now(): a transaction of many items must not date all of them at its start. Not clock_timestamp() either: it differs
    # from row to row, so no index serves a comparison with it
    return "extract(epoch from statement_timestamp())::double precision"


class today(FunctionElement[int]):  # noqa: N801
    """The calendar day in UTC, as days since 1970."""

    type = Integer()
    inherit_cache = True


@compiles(today, "sqlite")
def _sqlite_day(element: Any, compiler: Any, **options: Any) -> str:
    return "(unixepoch() / 86400)"


@compiles(today, "postgresql")
def _postgresql_day(element: Any, compiler: Any, **options: Any) -> str:
    return "floor(extract(epoch from statement_timestamp()) / 86400)::integer"
