"""SQLite, PostgreSQL and MariaDB as a product would use them: an empty database for a test, with the product's own rights."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pysqlite3.dbapi2  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from tests.acceptance.waiting import until
from tests.servers.process import ServerProcess, program

SECRET = "hunter2"
PATIENCE = 60  # seconds for a connection, on a machine that is busy with other things
_numbers = count(1)


class Database(ABC):
    """One database, empty at first. `url` is for the gateway; `run` is the product at work, through its own connection."""

    kind: str
    url: str

    @abstractmethod
    def _engine(self) -> Engine: ...

    def run(self, sql: str, *rows: dict[str, object]) -> list[Any]:
        """One statement, committed; once for each of `rows` when there are any. The rows that it returns."""
        engine = self._engine()
        with engine.begin() as connection:
            result = connection.execute(text(sql), list(rows)) if rows else connection.execute(text(sql))
            return list(result.all()) if result.returns_rows else []

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A session of the product's own, to hold a lock with."""
        with self._engine().connect() as connection:
            yield connection


class SqliteDatabase(Database):
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "product.db"
        self.url = f"sqlite:///{self._path}"
        self.run("CREATE TABLE made (x)")  # a file that is empty is no database yet

    def _engine(self) -> Engine:
        return create_engine(f"sqlite:///{self._path}", module=pysqlite3.dbapi2, poolclass=NullPool)


class ServerDatabase(Database):
    def __init__(self, kind: str, scheme: str, driver: str, port: int, name: str, options: str = "") -> None:
        self.kind = kind
        self.name = name
        self.url = f"{scheme}://app:{SECRET}@127.0.0.1:{port}/{name}"
        self._own = f"{driver}://app:{SECRET}@127.0.0.1:{port}/{name}{options}"

    def _engine(self) -> Engine:
        return create_engine(self._own, poolclass=NullPool)


class Postgresql:
    """A PostgreSQL server; whoever asks for a `database` gets an empty one."""

    def __init__(self) -> None:
        initdb = program("initdb")
        self.process = ServerProcess("postgresql", _postgres, _postgres_answers)
        self.process.run(
            initdb,
            "-D",
            "data",
            "-U",
            "admin",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        self.process.start()
        self.admin(f"CREATE ROLE app LOGIN SUPERUSER PASSWORD '{SECRET}'")

    def admin(self, sql: str) -> list[Any]:
        return _as_postgres_admin(self.process.port, sql)

    def database(self, options: str = "") -> ServerDatabase:
        name = f"product{next(_numbers)}"
        self.admin(f"CREATE DATABASE {name} {options}")
        return ServerDatabase(
            "postgresql", "postgresql", "postgresql+psycopg", self.process.port, name, "?client_encoding=utf8"
        )


class Standby:
    """A synchronous stand-by of `primary`: what is committed there is here as well, or the commit waits."""

    def __init__(self, primary: Postgresql) -> None:
        self.process = ServerProcess("standby", _postgres, _postgres_answers)
        source = ["-h", "127.0.0.1", "-p", str(primary.process.port), "-U", "admin", "--checkpoint=fast", "--no-sync"]
        self.process.run(program("pg_basebackup"), "-D", "data", "--write-recovery-conf", *source)
        self.process.start()
        primary.admin("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.admin("SELECT pg_reload_conf()")
        state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(lambda: primary.admin(state), "the stand-by is synchronous")

    def promote(self) -> None:
        _as_postgres_admin(self.process.port, "SELECT pg_promote()")


def _postgres(data: Path, port: int) -> list[str]:
    options = ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=30"]
    return [program("postgres"), "-D", str(data), "-p", str(port), *(word for option in options for word in ("-c", option))]


def _postgres_answers(port: int) -> None:
    _as_postgres_admin(port, "SELECT 1", patience=2)


def _as_postgres_admin(port: int, sql: str, patience: int = PATIENCE) -> list[Any]:
    where = {"host": "127.0.0.1", "user": "admin", "dbname": "postgres"}
    with psycopg.connect(**where, port=port, autocommit=True, connect_timeout=patience) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


class Mariadb:
    """A MariaDB server; whoever asks for a `database` gets an empty one."""

    def __init__(self) -> None:
        install, server = program("mariadb-install-db"), program("mariadbd")
        self.process = ServerProcess("mariadb", lambda data, port: [server, *_mariadb_flags(data, port)], self._answers)
        data = f"--datadir={self.process.folder / 'data'}"
        self.process.run(install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db")
        self.process.start()
        self.admin(f"CREATE USER app@localhost IDENTIFIED BY '{SECRET}'")
        self.admin("GRANT ALL ON *.* TO app@localhost")

    def _connect(self, port: int, patience: int = PATIENCE) -> Any:
        return pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True, connect_timeout=patience)

    def _answers(self, port: int) -> None:
        self._connect(port, 2).close()

    def admin(self, sql: str) -> list[Any]:
        with (
            closing(self._connect(self.process.port)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)
            return list(cursor.fetchall())

    def database(self, options: str = "CHARACTER SET utf8mb4") -> ServerDatabase:
        name = f"product{next(_numbers)}"
        self.admin(f"CREATE DATABASE {name} {options}")
        return ServerDatabase("mysql", "mysql", "mysql+pymysql", self.process.port, name)


def _mariadb_flags(data: Path, port: int) -> list[str]:
    small = ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=8M"]
    names = [f"--datadir={data}", f"--port={port}", f"--socket={data.parent}/socket", f"--pid-file={data.parent}/pid"]
    return ["--no-defaults", "--bind-address=127.0.0.1", "--max-connections=30", *names, *small]
