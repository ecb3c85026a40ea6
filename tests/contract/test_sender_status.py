"""What the login table says about the senders of queued mail, by account id: on SQLite, PostgreSQL and MariaDB alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from gateway.errors import Unavailable
from gateway.store.directory import MAX_IDS, SqlDirectory
from tests.contract.login_tables import HASH, fill, make_users, reading
from tests.pump import Pump
from tests.servers.databases import Database, SqliteDatabase


def disabled(pump: Pump, directory: SqlDirectory, *ids: str) -> set[str]:
    return pump.result(directory.disabled(ids))


def test_disabled_and_deleted_ones_as_they_are_now(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com", "bob@example.com", "carl@example.com")
    with reading(database, pump) as directory:
        assert disabled(pump, directory, "1", "2", "3") == set()
        database.run("UPDATE users SET is_active = FALSE WHERE id = 1")
        database.run("DELETE FROM users WHERE id = 2")
        assert disabled(pump, directory, "1", "2", "3") == {"1", "2"}
        assert disabled(pump, directory, "3") == set()
        database.run("UPDATE users SET is_active = TRUE")
        assert disabled(pump, directory, "1", "2") == {"2"}
        database.run("DELETE FROM users")
        assert disabled(pump, directory, "1", "3") == {"1", "3"}
    with reading(database, pump) as directory:
        assert disabled(pump, directory, "1", "3") == {"1", "3"}  # a connection that never saw an id
        fill(database, "ann@example.com")
        assert disabled(pump, directory, "1", "3") == {"3"}


def test_no_account_is_no_question(database: Database, pump: Pump) -> None:
    with reading(database, pump) as directory:
        assert disabled(pump, directory) == set()


@pytest.mark.parametrize(
    ("active", "wanted"),
    [("", "4"), ("flag", "2 3 4"), ("not:flag", "1 4"), ("null:flag", "1 2 4")],
)
def test_the_active_column(database: Database, pump: Pump, active: str, wanted: str) -> None:
    database.run("CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), flag BOOLEAN)")
    database.run("INSERT INTO users VALUES (1, 'a', 'x', TRUE), (2, 'b', 'x', FALSE), (3, 'c', 'x', NULL)")
    with reading(database, pump, columns={"active": active}) as directory:
        assert disabled(pump, directory, "1", "2", "3", "4") == set(wanted.split())


def test_an_account_that_may_not_sign_in_to_smtp_is_not_disabled(database: Database, pump: Pump) -> None:
    database.run("CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), smtp BOOLEAN)")
    database.run("INSERT INTO users VALUES (1, 'a', 'x', FALSE)")
    with reading(database, pump, columns={"active": "", "smtp_enabled": "smtp"}) as directory:
        assert disabled(pump, directory, "1") == set()


def test_an_account_with_two_rows_is_enabled_if_one_is(database: Database, pump: Pump) -> None:
    database.run("CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), is_active BOOLEAN)")
    database.run(
        "INSERT INTO users VALUES (1, 'a', 'x', FALSE), (1, 'b', 'x', TRUE), (2, 'c', 'x', FALSE), (2, 'd', 'x', FALSE)"
    )
    with reading(database, pump) as directory:
        assert disabled(pump, directory, "1", "2") == {"2"}


UUID, OTHER = "01234567-89ab-4def-8123-456789abcdef", "ffffffff-89ab-4def-8123-456789abcdef"
OCTETS, OTHER_OCTETS = "0123456789abcdef0123456789abcdef", "ff23456789abcdef0123456789abcdef"


def octets(kind: str, text: str) -> str:
    return f"'\\x{text}'" if kind == "postgresql" else f"x'{text}'"


# A column's type, the value of an enabled account, the text of its id, and the text of one that is not there
KINDS: dict[str, tuple[dict[str, str], Callable[[str], str], str, str]] = {
    "integer": ({}, lambda kind: "7", "7", "70"),
    "small": ({"": "SMALLINT"}, lambda kind: "-7", "-7", "7"),
    "large": ({"": "BIGINT"}, lambda kind: "9007199254740993", "9007199254740993", "9007199254740992"),
    "digits": ({"": "VARCHAR(40)"}, lambda kind: "'007'", "007", "7"),
    "text": ({"": "VARCHAR(40)"}, lambda kind: "'01ARZ3NDEKTSV4'", "01ARZ3NDEKTSV4", "01arz3ndektsv4"),
    "hex text": ({"": "CHAR(32)"}, lambda kind: f"'{OCTETS}'", OCTETS, OTHER_OCTETS),
    "unicode": ({"": "VARCHAR(40)"}, lambda kind: "'jos\u00e9'", "jos\u00e9", "jose"),
    "octets": (
        {"postgresql": "BYTEA", "mysql": "BINARY(16)", "sqlite": "BLOB"},
        lambda kind: octets(kind, OCTETS),
        OCTETS,
        OTHER_OCTETS,
    ),
    "decimal": (
        {"": "DECIMAL(30,0)", "sqlite": "TEXT"},
        lambda kind: "'12345678901234567890'",
        "12345678901234567890",
        "1",
    ),
    "uuid": ({"": "UUID", "sqlite": "TEXT"}, lambda kind: f"'{UUID}'", UUID, OTHER),
}


@pytest.mark.parametrize("name", KINDS)
def test_ids_of_any_type(database: Database, pump: Pump, name: str) -> None:
    kinds, value, there, gone = KINDS[name]
    kind = kinds.get(database.kind, kinds.get("", "INTEGER"))
    database.run(f"CREATE TABLE users (id {kind} PRIMARY KEY, email VARCHAR(90), password_hash VARCHAR(90))")
    database.run(f"INSERT INTO users VALUES ({value(database.kind)}, 'ann', 'x')")
    with reading(database, pump, columns={"active": ""}) as directory:
        row = pump.result(directory.find("ann"))
        assert row is not None
        assert row.id == there
        assert disabled(pump, directory, there, gone) == {gone}


def test_values_of_two_kinds_in_a_column_of_none(tmp_path: Path, pump: Pump) -> None:
    database = SqliteDatabase(tmp_path)
    database.run("CREATE TABLE users (id, email, password_hash)")
    database.run("INSERT INTO users VALUES (7, 'a', 'x'), ('8', 'b', 'x'), (x'ab', 'c', 'x')")
    with reading(database, pump, columns={"active": ""}) as directory:
        assert disabled(pump, directory, "7", "8", "ab", "9", "07", "AB") == {"9", "07", "AB"}


@pytest.mark.parametrize(
    "strange", ["abc", "99999999999999999999999999", "' OR 1=1 --", "1_0", "\u0663", "", "jos\u00e9\U0001f600"]
)
def test_an_id_that_the_column_cannot_hold_harms_nobody(database: Database, pump: Pump, strange: str) -> None:
    make_users(database, "ann@example.com", "bob@example.com")
    database.run("UPDATE users SET is_active = FALSE WHERE id = 2")
    with reading(database, pump) as directory:
        assert disabled(pump, directory, "1", "2", strange) - {strange} == {"2"}


def test_a_flag_that_cannot_be_read_disables_nobody(postgresql_database: Database, pump: Pump) -> None:
    make_users(postgresql_database, "ann@example.com", "bob@example.com")
    postgresql_database.run("ALTER TABLE users ADD since TIMESTAMP")
    postgresql_database.run("UPDATE users SET since = 'infinity' WHERE id = 2")
    with reading(postgresql_database, pump, columns={"active": "since"}) as directory:
        assert disabled(pump, directory, "1", "2", "3") == {"1", "3"}


@pytest.fixture
def postgresql_database(request: pytest.FixtureRequest) -> Database:
    made: Database = request.getfixturevalue("postgresql").database()
    return made


def test_many_in_few_queries(database: Database, pump: Pump) -> None:
    make_users(database, *(f"u{n}@example.com" for n in range(250)))
    database.run("UPDATE users SET is_active = FALSE WHERE id > 240")
    with reading(database, pump) as directory:
        before = directory._metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") or 0
        assert disabled(pump, directory, *(str(n) for n in range(1, 253))) == {str(n) for n in range(241, 253)}
        after = directory._metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") or 0
        assert after - before == -(-252 // MAX_IDS)


def test_away_is_unavailable_and_names_nobody(database: Database, pump: Pump) -> None:
    with reading(database, pump) as directory:
        error = pump.failure(directory.disabled(["secret-id"]))
        assert isinstance(error, Unavailable)
        assert "secret-id" not in str(error)


def test_the_index_of_the_id_serves(database: Database, pump: Pump) -> None:
    for table, column, values in (("numbers", "INTEGER", "{n}"), ("words", "VARCHAR(40)", "'w{n}'")):
        database.run(f"CREATE TABLE {table} (id {column} PRIMARY KEY, email VARCHAR(90), password_hash VARCHAR(90))")
        rows = ", ".join(f"({values.format(n=n)}, 'u{n}', '{HASH}')" for n in range(2000))
        database.run(f"INSERT INTO {table} VALUES {rows}")
        if database.kind != "sqlite":
            database.run(f"ANALYZE {'TABLE ' if database.kind == 'mysql' else ''}{table}")
        with reading(database, pump, table=table, columns={"active": ""}) as directory:
            assert is_served(directory, database.kind, ["7", "w8", "ab"])


def is_served(directory: SqlDirectory, kind: str, ids: list[str]) -> bool:
    """Whether the database answers the question about `ids` from an index."""
    word = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "

    def explained(_c: object, _k: object, statement: str, values: object, *_rest: object) -> tuple[str, object]:
        return word + statement, values

    with directory._engine.connect() as connection:
        asked = {"ids": directory._standing._values(connection, ids)}
        event.listen(directory._engine, "before_cursor_execute", explained, retval=True)
        plan = str(connection.execute(directory._table.by_id, asked).all())
    wanted = {"sqlite": ("SEARCH",), "postgresql": ("Index Cond",), "mysql": ("'range'", "'const'")}
    return any(word in plan for word in wanted[kind])
