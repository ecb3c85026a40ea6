"""A PostgreSQL server of our own, as it comes (with every sync): the login table and the store of row I."""

from pathlib import Path
from typing import Any, Self

import psycopg

from benchmarks import people
from benchmarks.programs import program
from tests.servers.process import ServerProcess

_USERS = (
    "CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL, password_hash text NOT NULL, is_active boolean NOT NULL)"
)
_FILL = "INSERT INTO users SELECT n + 1, 'user' || n || '@example.com', %s, true FROM generate_series(0, %s) AS n"


def _command(data: Path, port: int) -> list[str]:
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
    return [program("postgres"), "-D", str(data), "-p", str(port), *(word for option in options for word in ("-c", option))]


def _connect(port: int, database: str = "postgres") -> "psycopg.Connection[Any]":
    return psycopg.connect(host="127.0.0.1", port=port, user="admin", dbname=database, autocommit=True, connect_timeout=2)


class Postgresql:
    """Two databases in it: the product's and the gateway's."""

    def __enter__(self) -> Self:
        self._process = ServerProcess("postgresql", _command, lambda port: _connect(port).close())
        make = [program("initdb"), "-D", "data", "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        self._process.run(*make, "--no-instructions")
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.close()

    def settings(self, count: int) -> dict[str, Any]:
        """Make both databases, with so many people in the login table; what a gateway needs to use them."""
        with _connect(self._process.port) as connection:
            for name in ("product", "gateway"):
                connection.execute(f"CREATE DATABASE {name}".encode())
        with _connect(self._process.port, "product") as connection:
            connection.execute(_USERS)
            connection.execute(_FILL, [people.stored_hash(), count - 1])
            connection.execute("CREATE UNIQUE INDEX users_email ON users (lower(email))")
            connection.execute("ANALYZE users")
        url = f"postgresql://admin@127.0.0.1:{self._process.port}"
        return {
            "server": {"secret": "x" * 32},
            "accounts": {"url": f"{url}/product"},
            "store": {"url": f"{url}/gateway"},
        }
