"""A row of the login table by its account's id, as a credential needs it: on SQLite, PostgreSQL and MariaDB alike."""

import pytest
from sqlalchemy import event
from twisted.internet.defer import ensureDeferred

from gateway.accounts.model import LoginRow
from gateway.errors import Unavailable
from tests.contract.login_tables import HASH, make_users, reading
from tests.contract.test_sender_status import KINDS
from tests.pump import Pump
from tests.servers.databases import Database


def test_the_row_as_it_is_now(database: Database, pump: Pump) -> None:
    make_users(database, "ann@example.com", "bob@example.com")
    with reading(database, pump) as directory:
        assert pump.result(directory.by_id("2")) == LoginRow("2", "bob@example.com", HASH)
        database.run("UPDATE users SET is_active = FALSE, password_hash = 'new' WHERE id = 2")
        assert pump.result(directory.by_id("2")) == LoginRow("2", "bob@example.com", "new", active=False)
        database.run("DELETE FROM users WHERE id = 2")
        assert pump.result(directory.by_id("2")) is None
        assert pump.result(directory.by_id("1")) == LoginRow("1", "ann@example.com", HASH)


def test_it_is_the_row_that_the_login_has(database: Database, pump: Pump) -> None:
    database.run(
        "CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), size BIGINT, daily DECIMAL(9,0),"
        " smtp BOOLEAN)"
    )
    database.run("INSERT INTO users VALUES (1, 'a', 'x', 5000000, 20, TRUE), (2, 'b', NULL, 0, 0, FALSE)")
    columns = {"active": "", "max_message_size": "size", "daily_recipients": "daily", "smtp_enabled": "smtp"}
    with reading(database, pump, columns=columns) as directory:
        assert pump.result(directory.by_id("1")) == LoginRow("1", "a", "x", max_message_size=5_000_000, daily_recipients=20)
        assert pump.result(directory.by_id("2")) == LoginRow("2", "b", "", smtp_enabled=False, daily_recipients=0)
        for id_, login in (("1", "a"), ("2", "b")):
            assert pump.result(directory.by_id(id_)) == pump.result(directory.find(login))


@pytest.mark.parametrize("name", KINDS)
def test_ids_of_any_type(database: Database, pump: Pump, name: str) -> None:
    kinds, value, there, gone = KINDS[name]
    kind = kinds.get(database.kind, kinds.get("", "INTEGER"))
    database.run(f"CREATE TABLE users (id {kind} PRIMARY KEY, email VARCHAR(90), password_hash VARCHAR(90))")
    database.run(f"INSERT INTO users VALUES ({value(database.kind)}, 'ann', 'x')")
    with reading(database, pump, columns={"active": ""}) as directory:
        assert pump.result(directory.by_id(there)) == LoginRow(there, "ann", "x")
        assert pump.result(directory.by_id(gone)) is None


def test_an_empty_table_has_nobody(database: Database, pump: Pump) -> None:
    make_users(database)
    with reading(database, pump) as directory:
        assert pump.result(directory.by_id("1")) is None


def test_of_more_rows_of_an_account_an_enabled_one_stands_for_it(database: Database, pump: Pump) -> None:
    database.run("CREATE TABLE users (id INTEGER, email VARCHAR(90), password_hash VARCHAR(90), is_active BOOLEAN)")
    database.run(
        "INSERT INTO users VALUES (1, 'c', 'x', TRUE), (1, 'b', 'x', TRUE), (1, 'a', 'x', FALSE), (2, 'd', 'x', FALSE)"
    )
    with reading(database, pump) as directory:
        assert pump.result(directory.by_id("1")) == LoginRow("1", "b", "x")
        assert pump.result(directory.by_id("2")) == LoginRow("2", "d", "x", active=False)


@pytest.mark.parametrize(
    "strange", ["abc", "99999999999999999999999999", "' OR 1=1 --", "1_0", "\u0663", "", "a\u00e9\U0001f600"]
)
def test_an_id_that_the_column_cannot_hold_finds_nobody_and_harms_nobody(database: Database, pump: Pump, strange: str) -> None:
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory:
        together = [ensureDeferred(directory.by_id(id_)) for id_ in ("1", strange) * 20]
        for ann, nobody in zip(together[::2], together[1::2], strict=True):
            row = pump.result(ann)
            assert row is not None
            assert row.id == "1"
            assert pump.result(nobody) is None


def test_an_id_that_makes_the_query_fail_fails_alone(request: pytest.FixtureRequest, pump: Pump) -> None:
    database: Database = request.getfixturevalue("postgresql").database()
    there = "01234567-89ab-4def-8123-456789abcdef"
    database.run("CREATE TABLE users (id UUID PRIMARY KEY, email VARCHAR(90), password_hash VARCHAR(90))")
    database.run(f"INSERT INTO users VALUES ('{there}', 'ann', 'x')")
    with reading(database, pump, columns={"active": ""}) as directory:
        together = [ensureDeferred(directory.by_id(id_)) for id_ in (there, "no-uuid") * 6]
        for ann, strange in zip(together[::2], together[1::2], strict=True):
            assert pump.result(ann) == LoginRow(there, "ann", "x")
            error = pump.failure(strange)
            assert isinstance(error, Unavailable)
            assert "no-uuid" not in str(error)


def test_a_row_that_the_driver_cannot_read_fails_alone(request: pytest.FixtureRequest, pump: Pump) -> None:
    database: Database = request.getfixturevalue("postgresql").database()
    make_users(database, "ann@example.com", "bob@example.com")
    database.run("ALTER TABLE users ADD since TIMESTAMP")
    database.run("UPDATE users SET since = 'infinity' WHERE id = 2")
    with reading(database, pump, columns={"active": "since"}) as directory:
        together = [ensureDeferred(directory.by_id(id_)) for id_ in ("1", "2") * 6]
        for ann, bob in zip(together[::2], together[1::2], strict=True):
            assert pump.result(ann) is not None
            assert isinstance(pump.failure(bob), Unavailable)


def test_those_who_wait_share_queries(database: Database, pump: Pump) -> None:
    make_users(database, *(f"u{n}@example.com" for n in range(150)))
    with reading(database, pump) as directory:
        pump.result(directory.by_id("1"))  # the connection has seen an id
        before = directory._metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") or 0
        crowd = [ensureDeferred(directory.by_id(str(n % 150 + 1))) for n in range(300)]
        assert [row.id for row in map(pump.result, crowd) if row] == [str(n % 150 + 1) for n in range(300)]
        after = directory._metrics.registry.get_sample_value("smtp_gateway_accounts_query_seconds_count") or 0
        assert after - before == 3  # 100 at a time


def test_away_is_unavailable_and_names_nobody(database: Database, pump: Pump) -> None:
    with reading(database, pump) as directory:
        error = pump.failure(directory.by_id("secret-id"))
        assert isinstance(error, Unavailable)
        assert str(error).startswith("login table: ")
        assert "secret-id" not in str(error)


def test_the_index_of_the_id_serves(database: Database, pump: Pump) -> None:
    database.run("CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(90), password_hash VARCHAR(90))")
    rows = ", ".join(f"({n}, 'u{n}', '{HASH}')" for n in range(2000))
    database.run(f"INSERT INTO users VALUES {rows}")
    if database.kind != "sqlite":
        database.run(f"ANALYZE {'TABLE ' if database.kind == 'mysql' else ''}users")
    word = "EXPLAIN QUERY PLAN " if database.kind == "sqlite" else "EXPLAIN "

    def explained(_c: object, _k: object, statement: str, values: object, *_rest: object) -> tuple[str, object]:
        return word + statement, values

    with reading(database, pump, columns={"active": ""}) as directory, directory._engine.connect() as connection:
        asked = {"ids": directory._standing._values(connection, ["7"])}
        event.listen(directory._engine, "before_cursor_execute", explained, retval=True)
        plan = str(connection.execute(directory._table.whole_by_id, asked).all())
    wanted = {"sqlite": ("SEARCH",), "postgresql": ("Index Cond",), "mysql": ("'range'", "'const'")}
    assert any(word in plan for word in wanted[database.kind])
