"""Whether an index serves the look-up of a login: the database's own plan for our own query, read for `doctor`."""

from typing import Any

from sqlalchemy import Connection

from gateway.store.lookup import Lookup

_LOGIN = "nobody@gateway.invalid"


def is_served(connection: Connection, lookup: Lookup) -> bool:
    """Raises what SQLAlchemy raises. A database that we know no plans of is believed to have an index."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return all("SCAN" not in row[-1] for row in _plan(connection, lookup, "EXPLAIN QUERY PLAN"))
    if dialect == "postgresql":
        # In a small table it would rather read everything: what it does when that is dear is the answer
        connection.exec_driver_sql("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in _plan(connection, lookup, "EXPLAIN"))
        return "Seq Scan" not in plan and "Index Cond" in plan
    if dialect in ("mysql", "mariadb"):
        rows = [row._mapping for row in _plan(connection, lookup, "EXPLAIN")]
        return not any(row["type"] in ("ALL", "index") and not row["possible_keys"] and row["table"] for row in rows)
    return True


def _plan(connection: Connection, lookup: Lookup, explain: str) -> list[Any]:
    compiled = lookup.table.by_login(folds=lookup.folds(connection)).compile(connection)
    asked = compiled.construct_expanded_state({"logins": [_LOGIN]})
    parameters: Any = tuple(asked.positional_parameters) if compiled.positional else dict(asked.parameters)
    return list(connection.exec_driver_sql(f"{explain} {asked.statement}", parameters).all())
