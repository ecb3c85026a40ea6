"""A PostgreSQL that hangs: everybody gets an answer, nothing is lost, and the gateway still ends in order."""

import contextlib
import signal
import sqlite3
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.mail import arrived, message, submit
from tests.acceptance.shared_store import SharedStore
from tests.acceptance.waiting import until
from tests.acceptance.wire import greeted, plain, signed_in
from tests.servers.databases import Mariadb, Postgresql, Standby

WORKERS = [1, 2]


@pytest.fixture
def server() -> Iterator[Postgresql]:
    """Of this test's own, since it is stopped."""
    own = Postgresql()
    yield own
    own.process.thaw()
    own.process.close()


@pytest.fixture
def store(server: Postgresql, install: Install) -> SharedStore:
    return SharedStore(server, install)


def delivered(gateway: GatewayProcess, name: str) -> int:
    return sum(f"<{name}@test.example>".encode() in each for each in arrived(gateway.at.mail, "bob@example.net"))


def test_a_store_that_stands_still_is_answered_for(server: Postgresql, store: SharedStore) -> None:
    gateway = store.machine(relay={"retry": ["1s"]}).start()
    submit(gateway, message("before"))
    with signed_in(gateway) as at_mail, signed_in(gateway) as at_end, greeted(gateway) as at_auth:
        at_end.envelope("bob@example.net")
        server.process.freeze()
        at_mail.send(f"MAIL FROM:<{LOGIN}>\r\n".encode())
        at_auth.send(f"AUTH PLAIN {plain(LOGIN, PASSWORD)}\r\n".encode())
        assert at_end.data(message("unknown")).code == 451
        assert at_mail.reply().code == 451
        assert at_auth.reply().code == 454
        assert gateway.get("/readyz")[0] == 503
        code, page = gateway.get("/metrics")
        assert code == 200
        assert "smtp_gateway_build_info" in page
        assert gateway.get("/healthz")[0] == 200
        server.process.thaw()
        until(lambda: gateway.get("/readyz")[0] == 200, gateway.story)
        at_mail.envelope("bob@example.net")
        assert at_mail.data(message("after")).code == 250
    until(lambda: delivered(gateway, "after") == 1, gateway.story)
    assert delivered(gateway, "before") == 1
    assert delivered(gateway, "unknown") <= 1


def test_a_commit_that_waits_for_an_absent_stand_by_is_answered_for(server: Postgresql, store: SharedStore) -> None:
    """The wait is inside COMMIT, where no time limit of the server holds."""
    standby = Standby(server)
    try:
        gateway = store.machine(relay={"retry": ["1s"]}).start()
        with signed_in(gateway) as wire:
            standby.process.freeze()
            wire.envelope("bob@example.net")
            assert wire.data(message("unknown")).code == 451
            until(lambda: gateway.get("/readyz")[0] == 503, gateway.story)
            standby.process.thaw()
            until(lambda: gateway.get("/readyz")[0] == 200, gateway.story)
            until(lambda: delivered(gateway, "unknown") == 1, gateway.story)  # it was committed, so it is sent
    finally:
        standby.process.thaw()
        standby.process.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_sqlite_store_that_another_process_locks_is_not_ready(install: Install, workers: int) -> None:
    gateway = install(server={"workers": workers}).start()
    with contextlib.closing(sqlite3.connect(gateway.at.state / "gateway.db", isolation_level=None)) as other:
        with signed_in(gateway) as wire:
            wire.envelope("bob@example.net")
            other.execute("BEGIN IMMEDIATE")
            assert wire.data(message("locked")).code == 451
            assert gateway.get("/readyz")[0] == 503
        other.execute("ROLLBACK")
    until(lambda: gateway.get("/readyz")[0] == 200, gateway.story)
    submit(gateway, message("after"))
    until(lambda: delivered(gateway, "after") == 1, gateway.story)
    assert delivered(gateway, "locked") == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_sigterm_ends_it_in_order_while_the_store_hangs(server: Postgresql, store: SharedStore, workers: int) -> None:
    gateway = store.machine(server={"workers": workers}).start()
    with signed_in(gateway) as wire:
        server.process.freeze()
        wire.send(f"MAIL FROM:<{LOGIN}>\r\n".encode())
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(patience=50) == 0
    assert gateway.logged("stopped")


@pytest.mark.parametrize(("kind", "workers"), [(Postgresql, 1), (Postgresql, 2), (Mariadb, 1)])
def test_sigterm_ends_it_in_order_while_the_login_table_hangs(
    kind: type[Postgresql | Mariadb], install: Install, request: pytest.FixtureRequest, workers: int
) -> None:
    server = kind()
    request.addfinalizer(server.process.close)
    request.addfinalizer(server.process.thaw)
    table = server.database()
    table.run("CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(200), password_hash TEXT, is_active BOOLEAN)")
    table.run("CREATE INDEX users_email ON users (email)")
    gateway = install(server={"workers": workers}, accounts={"url": table.url}).start()
    with greeted(gateway) as wire:
        server.process.freeze()
        wire.send(f"AUTH PLAIN {plain(LOGIN, PASSWORD)}\r\n".encode())
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(patience=50) == 0
    assert gateway.logged("stopped")
