"""How our store and the product's login table are opened: drivers, pragmas, timeouts, read-only.

SQLite is always pysqlite3's: Debian 12's own has the WAL-reset bug, and one file must never be open through two SQLite
libraries in one process. `hide_parameters` keeps logins and hashes out of exceptions.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pysqlite3.dbapi2  # type: ignore[import-untyped]
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url

from gateway.config.database_url import check_server
from gateway.errors import ConfigError
from gateway.store.failures import translated

TIMEOUT = 5  # seconds for a connection, a statement or a lock; a client's own patience is about 30
# Among several hosts of a URL the one that is no stand-by; after a fail-over, what was the primary is not written to
_PRIMARY = {"target_session_attrs": "primary"}
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
IDLE = (
    10  # seconds until PostgreSQL ends a transaction of ours that does nothing: its process was stopped, or its machine is gone
)
_STORE_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=4000")


def parse_url(url: str, key: str) -> URL:
    """`url` with the driver we ship. Raises ConfigError naming the setting `key`, never the URL (it has a password)."""
    try:
        if not url.startswith("sqlite"):
            check_server(url.partition("://")[2])
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigError(
            [f"{key}: not a database URL; write it like sqlite:///var/file.db or postgresql://user:password@host/name"]
        ) from None
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def store_engine(url: str, *, write: bool) -> Engine:
    """The store, which must exist. A transaction of a writer takes SQLite's write lock at its start.

    Without IMMEDIATE two writers that have both read would deadlock, and SQLite then fails one at once, without waiting.
    On PostgreSQL a writer sees what others have committed before each statement, a reader a snapshot, as on SQLite.
    """
    parsed = parse_url(url, "store.url")
    if parsed.get_backend_name() != "sqlite":
        return _store_on_postgresql(parsed, write=write)
    engine = _sqlite(parsed, "rw", "store.url")
    pragmas = ("journal_mode=WAL", *_STORE_PRAGMAS) if write else ("query_only=ON",)
    _on_connect(engine, pragmas)
    _on_begin(engine, "BEGIN IMMEDIATE" if write else "BEGIN")
    return engine


def lookup_engine(url: str, connections: int) -> Engine:
    """The store for reads of one statement each: none of them begins a transaction, which would double or triple what is sent.

    No ping either: whoever finds that a connection has died tries once more (store/read_threads.py).
    """
    parsed = parse_url(url, "store.url")
    common: dict[str, Any] = {"pool_use_lifo": True, "pool_size": connections, "max_overflow": 0, "pool_timeout": TIMEOUT}
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite(parsed, "rw", "store.url", **common)
        _on_connect(engine, ("query_only=ON",))
        return engine
    arguments = _postgresql_arguments(parsed, statement_timeout=TIMEOUT * 1000, default_transaction_read_only="on")
    common |= {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None, "pool_recycle": 1800}
    return _create(parsed, "store.url", connect_args=arguments | _PRIMARY, **common)


def new_store_engine(url: str) -> Engine:
    """The store for its migrations, made when it does not exist yet; they bring their own transactions."""
    parsed = parse_url(url, "store.url")
    if parsed.get_backend_name() != "sqlite":
        # No limit: a migration takes as long as it takes, and waits for one that another machine runs
        arguments = _postgresql_connection() | _PRIMARY
        return _create(parsed, "store.url", connect_args=arguments, isolation_level="READ COMMITTED")
    engine = _sqlite(parsed, "rwc", "store.url")
    _on_connect(engine, ("journal_mode=WAL", "synchronous=FULL"))
    _on_begin(engine, "BEGIN IMMEDIATE")
    return engine


def accounts_engine(url: str, *, connections: int) -> Engine:
    """The product's login table, read only, every statement by itself, everything with a time limit.

    AUTOCOMMIT: a transaction left open would go on showing the rows of its start (promise 1).
    """
    parsed = parse_url(url, "accounts.url")
    common: dict[str, Any] = {"pool_use_lifo": True, "pool_size": connections, "max_overflow": 0, "pool_timeout": TIMEOUT}
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = _sqlite(parsed, "ro", "accounts.url", **common)
        _on_connect(engine, ("query_only=ON",))
        event.listen(engine, "connect", _read_any_text)
        return engine
    arguments = {"postgresql": _login_table_on_postgresql, "mysql": _mysql_arguments, "mariadb": _mysql_arguments}.get(backend)
    # No ping before and no ROLLBACK after each statement, which double or triple the round trips: there is no transaction,
    # and whoever finds that a connection has died tries once more (store/directory.py).
    common |= {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None, "pool_recycle": 1800}
    return _create(parsed, "accounts.url", connect_args=arguments(parsed) if arguments else {}, **common)


@contextmanager
def opened(url: str, *, write: bool) -> Iterator[Connection]:
    """The store for one short command beside a running server: one transaction. Raises Unavailable."""
    engine = store_engine(url, write=write)
    try:
        with translated(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _store_on_postgresql(url: URL, *, write: bool) -> Engine:
    limits = {"statement_timeout": TIMEOUT * 1000, "lock_timeout": TIMEOUT * 1000}
    limits["idle_in_transaction_session_timeout"] = IDLE * 1000
    arguments = _postgresql_arguments(url, **limits, **({} if write else {"default_transaction_read_only": "on"}))
    engine = _create(
        url,
        "store.url",
        connect_args=arguments | _PRIMARY,
        isolation_level="READ COMMITTED" if write else "REPEATABLE READ",
    )
    if write:
        event.listen(engine, "connect", _commit_to_disk)
    return engine


def _commit_to_disk(connection: Any, record: object) -> None:
    """A database, or its user, may have this switched off; then a commit that was answered could be lost in a power cut."""
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _create(url: URL, key: str, **options: Any) -> Engine:
    try:
        return create_engine(url, hide_parameters=True, **options)
    except ModuleNotFoundError as error:
        pinned = "--require-hashes -r requirements-drivers.txt" if error.name in ("psycopg", "pymysql") else error.name
        cure = f"in the gateway's source `make drivers`, or {sys.executable} -m pip install {pinned}"
        raise ConfigError([f"{key}: the database driver is missing; {cure}"]) from None
    except exc.ArgumentError:
        raise ConfigError(
            [f"{key}: {url.drivername} is no database we know; sqlite, postgresql and mysql are tested"]
        ) from None


def sqlite_file(url: URL) -> Path:
    """The file of an SQLite URL, which may be an SQLite URI."""
    given = url.database or ""
    return Path(unquote(given.removeprefix("file:")) if given.startswith("file:") else given)


def _sqlite(url: URL, mode: str, key: str, **options: Any) -> Engine:
    """The file as an SQLite URI, so that only mode "rwc" ever makes one."""
    path = str(sqlite_file(url))
    uri = url.set(database=f"file:{quote(path)}", query={"mode": mode, "uri": "true"})
    # isolation_level None: the driver begins nothing by itself, our own BEGIN below decides
    own = {"module": pysqlite3.dbapi2, "connect_args": {"isolation_level": None, "timeout": TIMEOUT}}
    engine = _create(uri, key, **own, **options)

    def connect(dialect: Any, record: object, arguments: Any, named: Any) -> Any:
        try:
            return dialect.connect(*arguments, **named)
        except pysqlite3.dbapi2.OperationalError as error:  # "unable to open database file" says neither which nor why
            raise pysqlite3.dbapi2.OperationalError(f"{path}: {_obstacle(path, mode) or error}") from None

    event.listen(engine, "do_connect", connect)
    return engine


def _obstacle(path: str, mode: str) -> str:
    """Why the system does not open the file; "" when it does."""
    flags = {"ro": os.O_RDONLY, "rw": os.O_RDWR, "rwc": os.O_RDWR}[mode]
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.strerror or ""
    return ""


def _login_table_on_postgresql(url: URL) -> dict[str, Any]:
    return _postgresql_arguments(url, default_transaction_read_only="on", statement_timeout=TIMEOUT * 1000)


def _postgresql_arguments(url: URL, **settings: str | int) -> dict[str, Any]:
    """How to connect; `settings` are the server's, for this session, after those that the URL has."""
    given = url.query.get("options", "")
    ours = [f"-c {name}={value}" for name, value in settings.items()]
    options = " ".join([*([given] if isinstance(given, str) else given), *ours]).strip()
    return {**_postgresql_connection(), "options": options}


def _postgresql_connection() -> dict[str, Any]:
    # statement_timeout is the server's, and a server that is cut off cannot apply it: the kernel looks after it
    alive = {"tcp_user_timeout": TIMEOUT * 1000, "keepalives_idle": TIMEOUT, "keepalives_interval": 2, "keepalives_count": 3}
    named = {"fallback_application_name": "smtp-gateway", "client_encoding": "utf8"}
    return {"connect_timeout": TIMEOUT, **alive, **named}


def _mysql_arguments(url: URL) -> dict[str, Any]:
    # MariaDB and MySQL (5.7.20) each execute their own comment. We stop listening a second later than they stop working,
    # so that no query that we gave up goes on there.
    mariadb = f"/*M!100101 SESSION max_statement_time={TIMEOUT}, SESSION tx_read_only=1 */"
    mysql = f"/*!50720 SESSION max_execution_time={TIMEOUT * 1000}, SESSION transaction_read_only=1 */"
    seconds = {"connect_timeout": TIMEOUT, "read_timeout": TIMEOUT + 1, "write_timeout": TIMEOUT}
    return {**seconds, "charset": "utf8mb4", "init_command": f"SET {mariadb} {mysql}"}


def _read_any_text(connection: Any, record: object) -> None:
    """A junk row of somebody else's must not fail the query: octets that are no UTF-8 are replaced, and match nothing."""
    connection.text_factory = lambda octets: octets.decode("utf-8", "replace")


def _on_connect(engine: Engine, pragmas: tuple[str, ...]) -> None:
    def set_pragmas(connection: Any, record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", set_pragmas)


def _on_begin(engine: Engine, statement: str) -> None:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin)
