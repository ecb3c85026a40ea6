"""What the login table's reader does on SQLite, PostgreSQL and MariaDB alike: one suite, on the real servers."""

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc
from twisted.internet.defer import ensureDeferred

from gateway.accounts import schemes
from gateway.accounts.model import LoginRow
from gateway.errors import Unavailable
from gateway.store.directory import THREADS
from tests.contract.login_tables import HASH, findings, index_level, make_users, reading
from tests.pump import Pump, deferred
from tests.servers import databases
from tests.servers.databases import Database

DJANGO = str(Path(databases.__file__).with_name("django_project.py"))
BLOB = {"sqlite": "BLOB", "postgresql": "BYTEA", "mysql": "VARBINARY(255)"}


TRAPS = [
    ("ann@example.com", "1"),
    ("ANN@Example.com", "1"),
    ("Jos\u00e9@example.com", "2"),
    ("jose@example.com", None),  # equal under MySQL's _ai_ci
    ("ann@example.com ", None),  # equal under MySQL's PAD SPACE
    (" ann@example.com", None),
    ("\u00e4nn@example.com", None),
    ("stra\u00dfe@example.com", "3"),
    ("strasse@example.com", None),
    ("\uff41nn@example.com", None),  # full width
    ("\U0001f600@example.com", "4"),
    ("\U0001f601@example.com", None),  # equal under old MySQL collations
    ("pad@example.com", None),  # the row has a space at its end
    ("pad@example.com ", "5"),
    ("ann@example.co_", None),
    ("%", None),
    ("ann@example.com' OR '1'='1", None),
    ("ann\\' OR 1=1 -- ", None),
    ("0", None),  # MySQL: every word is equal to the number 0
]
STORED = ("Ann@example.com", "jos\u00e9@example.com", "stra\u00dfe@example.com", "\U0001f600@example.com", "pad@example.com ")


@pytest.mark.parametrize("case_sensitive", [False, True])
def test_a_login_gets_the_row_that_really_has_it(database: Database, pump: Pump, case_sensitive: bool) -> None:
    make_users(database, *STORED)
    with reading(database, pump, case_sensitive=case_sensitive) as directory:
        for login, wanted in TRAPS:
            row = pump.result(directory.find(login))
            really = wanted if not case_sensitive or login in STORED else None
            assert (row.id if row else None) == really, login
        together = [ensureDeferred(directory.find(login)) for login, _ in TRAPS]
        found = [row.id if row else None for row in map(pump.result, together)]
        assert found == [wanted if not case_sensitive or login in STORED else None for login, wanted in TRAPS]


def test_two_rows_that_differ_in_case_are_nobody(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com", "ANN@example.com", "bob@example.com")
    with reading(database, pump) as directory:
        error = pump.failure(directory.find("Ann@example.com"))
        assert isinstance(error, Unavailable)
        assert "ann" not in str(error).lower()
        assert pump.result(directory.find("bob@example.com")) is not None
    with reading(database, pump, case_sensitive=True) as directory:
        row = pump.result(directory.find("ANN@example.com"))
        assert row is not None
        assert row.id == "2"


def test_a_change_counts_for_the_next_call(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory:
        for stored in ("one", "two"):
            database.run(f"UPDATE users SET password_hash = '{stored}'")
            row = pump.result(directory.find("ann@example.com"))
            assert row is not None
            assert row.stored == stored
        database.run("DELETE FROM users")
        assert pump.result(directory.find("ann@example.com")) is None


def test_views_and_schemas(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com", "bob@example.com")
    schema = "main" if database.kind == "sqlite" else "public" if database.kind == "postgresql" else database.url.split("/")[-1]
    database.run("CREATE VIEW people AS SELECT id, email, password_hash, is_active FROM users WHERE id > 1")
    for name in ("people", f"{schema}.people"):
        with reading(database, pump, table=name) as directory:
            assert pump.result(directory.find("ann@example.com")) is None
            assert pump.result(directory.find("BOB@example.com")) == LoginRow("2", "bob@example.com", HASH)
        assert findings(database, table=name)["accounts.table"][0] == "ok"


def test_names_in_mixed_case_and_reserved_words(database: Database, pump: Pump) -> None:
    quote = '"' if database.kind != "mysql" else "`"
    names = [f"{quote}{name}{quote}" for name in ("User", "ID", "order", "passWord")]
    database.run("CREATE TABLE {} ({} INTEGER, {} VARCHAR(90), {} VARCHAR(90))".format(*names))
    database.run(f"INSERT INTO {names[0]} VALUES (7, 'Ann', 'x')")
    columns = {"id": "ID", "login": "order", "password": "passWord", "active": ""}
    with reading(database, pump, table="User", columns=columns) as directory:
        assert pump.result(directory.find("ann")) == LoginRow("7", "Ann", "x")


@pytest.mark.parametrize(
    ("active", "wanted"),
    [("", "yes no null"), ("flag", "yes"), ("not:flag", "no null"), ("null:flag", "null"), ("null:gone", "yes no")],
)
def test_the_active_column(database: Database, pump: Pump, active: str, wanted: str) -> None:
    date = "TIMESTAMP" if database.kind == "postgresql" else "DATETIME"
    database.run(f"CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), flag BOOLEAN, gone {date})")
    never = "'infinity'" if database.kind == "postgresql" else "'2024-02-29 12:00:00'"
    database.run("INSERT INTO users VALUES (1, 'yes', 'x', TRUE, NULL), (2, 'no', 'x', FALSE, NULL)")
    database.run(f"INSERT INTO users VALUES (3, 'null', 'x', NULL, {never})")
    with reading(database, pump, columns={"active": active}) as directory:
        rows = [pump.result(directory.find(login)) for login in ("yes", "no", "null")]
    assert " ".join(row.login for row in rows if row and row.active) == wanted


def test_flags_as_each_database_keeps_them(database: Database, pump: Pump) -> None:
    kind = {"sqlite": "TEXT", "postgresql": "BIT(1)", "mysql": "BIT(1)"}[database.kind]
    yes, no = ("'yes'", "'no'") if database.kind == "sqlite" else ("B'1'", "B'0'")
    database.run(f"CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), bit_ {kind})")
    database.run(f"INSERT INTO users VALUES (1, 'a', 'x', {yes}), (2, 'b', 'x', {no})")
    with reading(database, pump, columns={"active": "bit_"}) as directory:
        assert [row.active for row in (pump.result(directory.find(login)) for login in "ab") if row] == [True, False]


def test_optional_columns(database: Database, pump: Pump) -> None:
    database.run(
        "CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), size BIGINT, daily DECIMAL(9,0),"
        " smtp BOOLEAN)"
    )
    database.run("INSERT INTO users VALUES (1, 'a', 'x', 5000000, 20, TRUE), (2, 'b', NULL, 0, -1, FALSE)")
    database.run("INSERT INTO users VALUES (3, 'c', 'x', NULL, NULL, NULL), (4, 'd', 'x', NULL, 0, NULL)")
    columns = {"active": "", "max_message_size": "size", "daily_recipients": "daily", "smtp_enabled": "smtp"}
    with reading(database, pump, columns=columns) as directory:
        assert [pump.result(directory.find(login)) for login in "abcd"] == [
            LoginRow("1", "a", "x", max_message_size=5_000_000, daily_recipients=20),
            LoginRow("2", "b", "", smtp_enabled=False),
            LoginRow("3", "c", "x"),
            LoginRow("4", "d", "x", daily_recipients=0),
        ]


def test_ids_and_hashes_of_any_type(database: Database, pump: Pump) -> None:
    blob = BLOB[database.kind]
    uuid = "0123456789abcdef0123456789abcdef"
    kinds = {
        "big": ("BIGINT", "9007199254740993", "9007199254740993"),
        "dec": ("DECIMAL(30,0)", "12345678901234567890", "12345678901234567890"),
        "txt": ("VARCHAR(40)", "'01ARZ3NDEKTSV4RRFFQ69G5FAV'", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "bin": (blob, {"postgresql": f"'\\x{uuid}'"}.get(database.kind, f"x'{uuid}'"), uuid),
    }
    if database.kind == "sqlite":
        del kinds["dec"]  # SQLite would make a float of it
    else:
        kinds["uuid"] = ("UUID", "'01234567-89ab-4def-8123-456789abcdef'", "01234567-89ab-4def-8123-456789abcdef")
    for name, (kind, value, text) in kinds.items():
        database.run(f"CREATE TABLE t_{name} (id {kind}, email VARCHAR(90), password_hash {blob})")
        octets = "'\\x78'" if database.kind == "postgresql" else "x'78'"
        database.run(f"INSERT INTO t_{name} VALUES ({value}, 'ann', {octets})")
        with reading(database, pump, table=f"t_{name}", columns={"active": ""}) as directory:
            assert pump.result(directory.find("ann")) == LoginRow(text, "ann", "x"), name


def test_a_row_without_an_id_is_nobodys(database: Database, pump: Pump) -> None:
    database.run("CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90))")
    database.run("INSERT INTO users VALUES (NULL, 'ann', 'x')")
    with reading(database, pump, columns={"active": ""}) as directory:
        assert isinstance(pump.failure(directory.find("ann")), Unavailable)


def test_aliases(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com")
    database.run("CREATE TABLE aliases (account_id INTEGER, address VARCHAR(90))")
    database.run("INSERT INTO aliases VALUES (1, 'Sales@Example.com'), (1, NULL), (2, 'bob@example.com')")
    with reading(database, pump, aliases="aliases") as directory:
        assert pump.result(directory.aliases("1")) == {"sales@example.com"}


def test_an_id_that_the_aliases_cannot_have_is_nobody_elses_trouble(database: Database, pump: Pump) -> None:
    """One read serves all that ask in one turn."""
    make_users(database, "ann@example.com")
    database.run("CREATE TABLE aliases (account_id INTEGER, address VARCHAR(90))")
    database.run("INSERT INTO aliases VALUES (1, 'sales@example.com')")
    with reading(database, pump, aliases="aliases") as directory:
        odd, plain = deferred(directory.aliases("x" * 40)), deferred(directory.aliases("1"))
        assert pump.result(plain) == {"sales@example.com"}
        if database.kind == "postgresql":  # the others compare anything with anything
            assert isinstance(pump.failure(odd), Unavailable)
        else:
            assert pump.result(odd) == frozenset()


INDEXES = {
    "sqlite": ["CREATE UNIQUE INDEX i ON users (email)", "CREATE UNIQUE INDEX i ON users (email COLLATE NOCASE)"],
    "postgresql": ["CREATE UNIQUE INDEX i ON users (email)", "CREATE UNIQUE INDEX i ON users (lower(email))"],
}


@pytest.mark.parametrize("rows", [0, 2, 2000])
def test_doctor_sees_whether_an_index_serves(database: Database, rows: int) -> None:
    make_users(database, *(f"u{n}@example.com" for n in range(rows)), login="VARCHAR(254)")
    assert index_level(database) == "warning"
    for sql, level in zip(INDEXES.get(database.kind, ["CREATE INDEX i ON users (email)"]), ("warning", "ok"), strict=False):
        database.run(sql)
        if database.kind == "postgresql":
            database.run("ANALYZE users")
        assert index_level(database) == ("ok" if database.kind == "mysql" else level)
        assert index_level(database, case_sensitive=True) == (
            "ok" if level == "warning" or database.kind == "mysql" else "warning"
        )
        database.run("DROP INDEX i" + (" ON users" if database.kind == "mysql" else ""))


def test_doctor_says_what_is_there(database: Database) -> None:
    make_users(database, "ann@example.com")
    assert findings(database)["accounts.table"] == ("ok", '"users" has 1 rows')
    assert findings(database)["accounts.columns.password"] == ("ok", "kinds of hashes among 1: bcrypt (1)")
    assert 'did you mean "users"' in findings(database, table="user")["accounts.table"][1]
    assert 'did you mean "email"' in findings(database, columns={"login": "mail"})["accounts.columns.login"][1]
    assert HASH not in str(findings(database))


def test_nothing_can_be_written(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory:
        for sql in ("DELETE FROM users", "UPDATE users SET email = 'x'", "INSERT INTO users VALUES (9, 'x', 'x', TRUE)"):
            with directory._engine.connect() as connection, pytest.raises(exc.DBAPIError, match=r"read.?only|READ ONLY"):
                connection.exec_driver_sql(sql)
        assert pump.result(directory.find("ann@example.com")) is not None
    assert database.run("SELECT count(*) FROM users") == [(1,)]


def test_no_value_is_in_an_error(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com")
    columns: list[dict[str, str]] = [{"login": "not_there"}, {"password": "not_there"}, {"id": "not_there"}]
    for chosen in columns:
        with reading(database, pump, columns=chosen) as directory:
            error = pump.failure(directory.find("ann@example.com"))
            assert isinstance(error, Unavailable)
            assert "ann@" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "given", [*({"columns": {key: "not_there"}} for key in ("id", "login", "password", "active")), {"table": "not_there"}]
)
def test_a_mapping_that_fits_no_table_is_not_reachable(database: Database, pump: Pump, given: dict[str, Any]) -> None:
    """What `/readyz` asks: a gateway where nobody can sign in is not ready, and its log says why."""
    make_users(database)
    with reading(database, pump, **given) as directory:
        error = pump.failure(directory.reachable())
        assert isinstance(error, Unavailable)
        assert "not_there" in str(error)
    with reading(database, pump) as directory:
        pump.result(directory.reachable())


def test_a_crowd_uses_no_more_connections_than_threads(
    database: Database, pump: Pump, count_sessions: Callable[[], int]
) -> None:
    make_users(database, *(f"u{n}@example.com" for n in range(300)))
    before = count_sessions()
    with reading(database, pump) as directory:
        crowd = [ensureDeferred(directory.find(f"U{n % 300}@example.com")) for n in range(900)]
        rows = [pump.result(one) for one in crowd]
        assert [row.id for row in rows if row] == [str(n % 300 + 1) for n in range(900)]
        assert count_sessions() - before <= THREADS


@pytest.fixture
def count_sessions(database: Database) -> Callable[[], int]:
    sql = {
        "sqlite": "SELECT 0",
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'smtp-gateway'",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'",
    }[database.kind]
    return lambda: int(database.run(sql)[0][0])


def test_django_s_own_tables(database: Database, pump: Pump) -> None:
    made = subprocess.run([sys.executable, DJANGO, database.url], capture_output=True, text=True, check=False, timeout=100)
    assert made.returncode == 0, made.stderr
    users: dict[str, str] = json.loads(made.stdout)
    assert len(users) == 9
    with reading(database, pump, preset="django") as directory:
        for login, stored in users.items():
            row = pump.result(directory.find(login.lower()))
            if login == "":
                assert row is None
                continue
            assert row is not None
            assert (row.login, row.stored, row.active) == (login, stored, login != "left@example.com")
            secret = f"p\u00e4ssword {login.split('@')[0]}".encode()
            if database.kind == "sqlite":  # once is enough: they are as dear as Django makes them
                assert schemes.verify(secret, stored) == (login not in ("left@example.com", "nobody@example.com"))
    said = findings(database, preset="django")
    assert said["accounts.table"] == ("ok", '"auth_user" has 9 rows')
    assert said["accounts.columns.password"][0] == "ok"
    assert said["accounts.columns.login"][0] == "warning"  # Django gives the address no index
