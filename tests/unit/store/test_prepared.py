"""Statements given to the driver directly: their rows, their errors, and that they cost next to nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Text, bindparam, exc, insert, select, text

from gateway.store.engine import lookup_engine
from gateway.store.prepared import Prepared
from gateway.store.schema import domain
from tests.statements import statements
from tests.stores import KINDS, url_of
from tests.unit.test_costs import calls

NAME = bindparam("name", type_=Text)
ADD = Prepared(insert(domain).values(name=NAME, account_id="7", added=1.5))
FIND = Prepared(select(domain.c.account_id, domain.c.added.label("since")).where(domain.c.name == NAME))
SECRET = "secret.example"


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = lookup_engine(url_of(request.param, tmp_path, request), 2)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection.execute(text("PRAGMA query_only=OFF" if engine.name == "sqlite" else "SET transaction_read_only = off"))
        if engine.name == "postgresql":
            connection.execute(text("SET default_transaction_read_only = off"))
        yield connection


def test_rows_have_names(connection: Connection) -> None:
    assert list(ADD.run(connection, {"name": "a.example"})) == []
    [row] = FIND.run(connection, {"name": "a.example"})
    assert (row.account_id, row.since) == ("7", 1.5)
    assert list(FIND.run(connection, {"name": "b.example"})) == []


def test_an_error_is_as_if_sqlalchemy_had_executed_it(connection: Connection) -> None:
    ADD.run(connection, {"name": SECRET})
    with pytest.raises(exc.IntegrityError) as raised:
        ADD.run(connection, {"name": SECRET})
    assert not raised.value.connection_invalidated
    if connection.dialect.name == "sqlite":  # a server quotes it: gateway.store.failures leaves that out
        assert SECRET not in str(raised.value)
    assert [row.account_id for row in FIND.run(connection, {"name": SECRET})] == ["7"]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_lost_connection_is_known_as_such(engine: Engine) -> None:
    with engine.connect() as other, engine.connect() as connection:
        lost = [each.execute(text("SELECT pg_backend_pid()")).scalar_one() for each in (connection, other)]
    with engine.connect() as connection:
        mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        [idle] = [pid for pid in lost if pid != mine]
        connection.execute(text(f"SELECT pg_terminate_backend({idle}, 5000)"))
        with pytest.raises(exc.DBAPIError) as raised:
            Prepared(select(text(f"pg_terminate_backend({mine})"))).run(connection, {})
    assert raised.value.connection_invalidated
    with engine.connect() as connection:  # nor is the other one, which is as dead, used again
        assert list(FIND.run(connection, {"name": "a.example"})) == []


def test_a_connection_that_is_closed_already_is_known_as_lost(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        driver: Any = connection.connection.driver_connection
        driver.close()
        with pytest.raises(exc.DBAPIError) as raised:
            FIND.run(connection, {"name": "a.example"})
    assert raised.value.connection_invalidated


def test_who_listens_hears_of_it(connection: Connection) -> None:
    with statements() as sent:
        FIND.run(connection, {"name": "a.example"})
    [(said, values)] = sent
    assert "FROM domain" in said
    assert "a.example" in (values if isinstance(values, tuple) else values.values())


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_calls_of_an_execution(connection: Connection) -> None:
    FIND.run(connection, {"name": "a.example"})
    taken = calls(lambda: FIND.run(connection, {"name": "a.example"}))
    assert taken <= 14, taken  # SQLAlchemy's own are about five times as many
