"""A product's login table in SQLite, as tests want it, and its configuration."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.config import Accounts

PLAIN = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE, password_hash, is_active)"


def run_sql(folder: Path, sql: str, *rows: tuple[object, ...]) -> None:
    """As the product does it: another program with another SQLite."""
    with closing(sqlite3.connect(folder / "accounts.db")) as connection:
        if rows:
            connection.executemany(sql, rows)
        else:
            connection.execute(sql)
        connection.commit()


def accounts(folder: Path, **settings: Any) -> Accounts:
    return Accounts.model_validate({"url": f"sqlite:///{folder}/accounts.db", **settings})
