"""The login table's reader against real servers: what only they have, and what it does when they stall, die and return."""

import pytest
from twisted.internet.defer import ensureDeferred

from gateway.accounts.model import LoginRow
from gateway.errors import Unavailable
from gateway.store import engine
from gateway.store.shared_read import SLOW
from tests.contract.login_tables import HASH, fill, findings, index_level, make_users, reading
from tests.pump import Pump
from tests.servers.databases import SECRET, Mariadb, Postgresql, ServerDatabase

Server = Postgresql | Mariadb


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    running: Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def database(server: Server) -> ServerDatabase:
    return server.database()


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements get three seconds instead of five: not less, or on a busy machine the quick ones are ended, too."""
    monkeypatch.setattr(engine, "TIMEOUT", 3)


def test_another_schema(database: ServerDatabase, pump: Pump) -> None:
    schema = f"{database.name}_tenant"
    database.run(f"CREATE SCHEMA {schema}")
    make_users(database, "ann@example.com", table=f"{schema}.users")
    make_users(database, "wrong@example.com")
    with reading(database, pump, table=f"{schema}.users") as directory:
        assert pump.result(directory.find("ann@example.com")) is not None
        assert pump.result(directory.find("wrong@example.com")) is None


def test_the_password_of_the_database_is_in_no_error(database: ServerDatabase, pump: Pump) -> None:
    database.url = database.url.replace(database.name, "not_there")
    with reading(database, pump) as directory:
        error = pump.failure(directory.reachable())
    assert isinstance(error, Unavailable)
    assert SECRET not in str(error)
    assert SECRET not in str(findings(database))


def test_a_server_that_is_killed_and_comes_back(server: Server, pump: Pump) -> None:
    database = server.database()
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory:
        assert pump.result(directory.find("ann@example.com")) is not None
        server.process.kill()
        try:
            for _ in range(3):
                error = pump.failure(directory.find("ann@example.com"))  # the pump's clock stands: nobody waited for PATIENCE
                assert isinstance(error, Unavailable)
                assert "ann@" not in str(error)
        finally:
            server.process.start()
        assert pump.result(directory.find("ann@example.com")) is not None


def test_a_restart_between_two_calls_is_not_even_noticed(server: Server, pump: Pump) -> None:
    database = server.database()
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory:
        crowd = [ensureDeferred(directory.find(f"u{n}@example.com")) for n in range(400)]
        assert [pump.result(one) for one in crowd] == [None] * 400
        server.process.kill()
        server.process.start()
        for _ in range(8):
            assert pump.result(directory.find("ann@example.com")) is not None


# A function that says how dear it is, so that PostgreSQL calls it last, for the row that was asked for
NAP = "CREATE FUNCTION nap() RETURNS boolean LANGUAGE plpgsql COST 100000 AS 'BEGIN PERFORM pg_sleep(30); RETURN true; END'"


def test_a_statement_that_hangs_is_ended_by_the_server_and_holds_nobody(
    database: ServerDatabase, pump: Pump, three_seconds: None
) -> None:
    make_users(database, "slow@example.com", "ann@example.com")
    if database.kind == "postgresql":
        database.run(NAP)
    nap = "nap()" if database.kind == "postgresql" else "SLEEP(30) = 0"
    sleep = f"CASE WHEN email = 'slow@example.com' THEN {nap} ELSE TRUE END"
    database.run(f"CREATE VIEW people AS SELECT id, email, password_hash, is_active FROM users WHERE {sleep}")
    with reading(database, pump, table="people") as directory:
        slow = ensureDeferred(directory.find("slow@example.com"))
        pump.advance(0)  # its query begins
        first = ensureDeferred(directory.find("ann@example.com"))
        pump.advance(SLOW)
        assert pump.result(first) is not None
        for _ in range(5):
            assert pump.result(directory.find("ann@example.com")) is not None
        assert not slow.called
        error = pump.failure(slow)
    assert isinstance(error, Unavailable)
    assert "slow@" not in str(error)
    assert ("QueryCanceled" in str(error)) or ("1969" in str(error))


def test_a_locked_table_is_unavailable_and_passes(server: Server, pump: Pump, three_seconds: None) -> None:
    database = server.database()
    make_users(database, "ann@example.com")
    with reading(database, pump) as directory, database.connected() as product:
        if database.kind == "postgresql":
            product.exec_driver_sql("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        else:
            product.exec_driver_sql("LOCK TABLES users WRITE")
        assert isinstance(pump.failure(directory.find("ann@example.com")), Unavailable)
        product.exec_driver_sql("ROLLBACK" if database.kind == "postgresql" else "UNLOCK TABLES")
        assert pump.result(directory.find("ann@example.com")) is not None


def test_citext_a_domain_of_it_and_a_collation_without_case(postgresql: Postgresql, pump: Pump) -> None:
    database = postgresql.database()
    database.run("CREATE EXTENSION citext")
    database.run("CREATE DOMAIN email AS citext CHECK (VALUE <> '')")
    database.run("CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    for number, kind in enumerate(("CITEXT", "EMAIL", "TEXT COLLATE nocase")):
        table = f"t{number}"
        make_users(database, "Ann@Example.com", "bob@example.com", login=kind, table=table)
        database.run(f"CREATE UNIQUE INDEX ON {table} (email)")
        with reading(database, pump, table=table) as directory:
            assert pump.result(directory.find("ann@EXAMPLE.com")) == LoginRow("1", "Ann@Example.com", HASH)
        with reading(database, pump, table=table, case_sensitive=True) as directory:
            assert pump.result(directory.find("ann@EXAMPLE.com")) is None
        assert index_level(database, table=table) == "ok"


def test_a_column_of_fixed_length(database: ServerDatabase, pump: Pump) -> None:
    make_users(database, "ann@example.com", login="CHAR(40)")
    for case_sensitive in (False, True):
        with reading(database, pump, case_sensitive=case_sensitive) as directory:
            assert pump.result(directory.find("ann@example.com")) == LoginRow("1", "ann@example.com", HASH)
            assert pump.result(directory.find("ann@example.com ")) is None


@pytest.mark.parametrize(
    "kind", ["VARCHAR(254) COLLATE utf8mb4_bin", "VARBINARY(254)", "VARCHAR(90) COLLATE latin1_general_cs"]
)
def test_a_collation_that_tells_case_apart_still_matches_and_is_named(mariadb: Mariadb, pump: Pump, kind: str) -> None:
    database = mariadb.database()
    make_users(database, "Ann@Example.com", "jos\u00e9@example.com", login=kind)
    database.run("CREATE UNIQUE INDEX i ON users (email)")
    with reading(database, pump) as directory:
        assert pump.result(directory.find("aNN@EXAMPLE.com")) == LoginRow("1", "Ann@Example.com", HASH)
        assert pump.result(directory.find("JOS\u00c9@example.com")) is not None
        assert pump.result(directory.find("jose@example.com")) is None
    level, text = findings(database)["accounts.columns.login"]
    assert level == "warning"
    assert "ends in _ci" in text
    assert index_level(database, case_sensitive=True) == "ok"


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ucs2"])
def test_a_login_that_the_table_cannot_hold_is_nobody_and_harms_nobody(mariadb: Mariadb, pump: Pump, charset: str) -> None:
    database = mariadb.database(f"CHARACTER SET {charset}")
    make_users(database, "ann@example.com", "jos\u00e9@example.com", login="VARCHAR(90)")
    database.run("CREATE UNIQUE INDEX i ON users (email)")
    logins = ["ann@example.com", "\U0001f600@example.com", "Jos\u00c9@example.com", "\u4e2d@example.com", "nobody"]
    with reading(database, pump) as directory:
        together = [ensureDeferred(directory.find(login)) for login in logins]
        assert [row.id if row else None for row in map(pump.result, together)] == ["1", None, "2", None, None]
    assert index_level(database) == "ok"


def test_the_same_in_a_latin1_database_of_postgresql(postgresql: Postgresql, pump: Pump) -> None:
    database = postgresql.database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    make_users(database, "ann@example.com", "jos\u00e9@example.com")
    logins = ["ANN@example.com", "\U0001f600@example.com", "Jos\u00e9@example.com", "nobody"]
    with reading(database, pump) as directory:
        together = [ensureDeferred(directory.find(login)) for login in logins * 20]
        assert [row.id if row else None for row in map(pump.result, together)] == ["1", None, "2", None] * 20


def test_octets_that_are_no_text_fail_their_own_row_only(postgresql: Postgresql, pump: Pump) -> None:
    database = postgresql.database("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    make_users(database, "ann@example.com", "bob@example.com")
    database.run(r"UPDATE users SET password_hash = E'\xe9' WHERE id = 2")
    with reading(database, pump) as directory:
        together = [ensureDeferred(directory.find(login)) for login in ("ann@example.com", "bob@example.com") * 3]
        for ann, bob in zip(together[::2], together[1::2], strict=True):
            assert pump.result(ann) is not None
            assert isinstance(pump.failure(bob), Unavailable)


def test_a_value_that_the_driver_cannot_read_fails_its_own_row_only(postgresql: Postgresql, pump: Pump) -> None:
    database = postgresql.database()
    make_users(database, "ann@example.com", "bob@example.com")
    database.run("ALTER TABLE users ADD since TIMESTAMP")
    database.run("UPDATE users SET since = 'infinity' WHERE id = 2")
    with reading(database, pump, columns={"active": "since"}) as directory:
        together = [ensureDeferred(directory.find(login)) for login in ("ann@example.com", "bob@example.com") * 3]
        for ann, bob in zip(together[::2], together[1::2], strict=True):
            assert pump.result(ann) is not None
            assert isinstance(pump.failure(bob), Unavailable)


def test_a_column_whose_kind_changes_is_found_again(postgresql: Postgresql, pump: Pump) -> None:
    database = postgresql.database()
    database.run("CREATE EXTENSION citext")
    make_users(database, "Ann@example.com", login="TEXT")
    with reading(database, pump) as directory:
        assert pump.result(directory.find("ann@example.com")) is not None
        database.run("ALTER TABLE users ALTER email TYPE CITEXT")
        assert pump.result(directory.find("ann@example.com")) is not None


def test_one_row_of_thousands_costs_no_scan(database: ServerDatabase, pump: Pump) -> None:
    make_users(database)
    fill(database, *(f"u{n}@example.com" for n in range(2000)))
    database.run("CREATE INDEX by_login ON users (" + ("lower(email))" if database.kind == "postgresql" else "email)"))
    database.run("ANALYZE users" if database.kind == "postgresql" else "ANALYZE TABLE users")
    where = "lower(email) IN (lower('U7@example.com'))" if database.kind == "postgresql" else "email IN ('U7@example.com')"
    plan = str(database.run(f"EXPLAIN SELECT id, email FROM users WHERE {where}"))
    assert "by_login" in plan
    assert index_level(database) == "ok"
    with reading(database, pump) as directory:
        row = pump.result(directory.find("U7@Example.com"))
        assert row is not None
        assert row.id == "8"
