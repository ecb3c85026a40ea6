"""The product's login table that both sides read: people with one password, hashed with bcrypt at cost 12."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import bcrypt

COST = 12
PASSWORD = "correct horse battery"  # noqa: S105
USER = "user%d@example.com"
FEW, MANY = 1_000, 10_000_000

_CREATE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE,
                    password_hash TEXT NOT NULL, is_active INTEGER NOT NULL)
"""
# One hash for all of them: what it costs to check a password does not depend on whose it is.
_FILL = """
WITH RECURSIVE k(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM k WHERE n + 1 < ?)
INSERT INTO users SELECT n + 1, printf('user%d@example.com', n), ?, 1 FROM k
"""


def stored_hash() -> str:
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode("ascii")


def make_table(path: Path, people: int) -> None:
    """A SQLite file with `people` in it, numbered from 0."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(_CREATE)
        connection.execute(_FILL, [people, stored_hash()])
    path.chmod(0o644)


def seconds_of_a_hash() -> float:
    """How long one takes now, on a core that nobody else wants."""
    stored, took = stored_hash().encode(), []
    for _ in range(3):
        began = time.perf_counter()
        bcrypt.checkpw(PASSWORD.encode(), stored)
        took.append(time.perf_counter() - began)
    return median(took)
