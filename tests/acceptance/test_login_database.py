"""PostgreSQL and MariaDB as the login table, through the running gateway: changed by SQL, killed, frozen, and back."""

import json
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.login_table import COST, hashed
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.waiting import until
from tests.acceptance.wire import Reply, Wire, attempt, greeted, plain, signed_in
from tests.servers import databases
from tests.servers.databases import SECRET, Mariadb, Postgresql, ServerDatabase

NEW = "tr0ub4dor&3"
CREATE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(254) UNIQUE, password_hash VARCHAR(255), is_active BOOLEAN,
                    max_message_size INTEGER)
"""
DJANGO = str(Path(databases.__file__).with_name("django_project.py"))
NO_LOCKOUT = {"delay": "0s", "failures": 0, "account_failures": 0, "network_accounts": 0}

Server = Postgresql | Mariadb


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    running: Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def database(server: Server) -> ServerDatabase:
    made = server.database()
    made.run(CREATE)
    made.run("INSERT INTO users VALUES (7, :login, :stored, TRUE, NULL)", {"login": LOGIN, "stored": hashed(PASSWORD, COST)})
    return made


@pytest.fixture
def gateway(install: Install, database: ServerDatabase) -> Iterator[GatewayProcess]:
    limits = {"auth_failures_per_session": 10}  # a sign-in that cannot be decided is one of them
    started = install(accounts={"url": database.url}, lockout=NO_LOCKOUT, limits=limits).start()
    yield started
    for secret in (SECRET, PASSWORD, LOGIN, plain(LOGIN, PASSWORD)):
        assert secret not in started.raw_log() + started.errors()


def change(database: ServerDatabase, assignment: str, **values: object) -> None:
    database.run(f"UPDATE users SET {assignment} WHERE id = 7", dict(values))


def is_away(said: Reply) -> bool:
    """Refused for now, and not because of anything that the client did."""
    return said.head == "454 4.7.0" and "Too many failed" not in said.text


def test_signing_in_and_changes_by_sql(gateway: GatewayProcess, database: ServerDatabase) -> None:
    with signed_in(gateway, LOGIN.upper()) as wire:
        wire.envelope("bob@example.net")
        assert wire.data(message("before")).code == 250
        wire.envelope("bob@example.net")
        change(database, "password_hash = :new", new=hashed(NEW, COST))
        assert wire.data(message("after")).head == "421 4.7.0"
    assert attempt(gateway).head == "535 5.7.8"
    assert attempt(gateway, password=NEW).code == 235
    with signed_in(gateway, password=NEW) as wire:
        change(database, "is_active = :no", no=False)
        assert wire.command(f"MAIL FROM:<{LOGIN}>").head == "421 4.7.0"
    assert attempt(gateway, password=NEW).head == "535 5.7.8"
    assert attempt(gateway, "nobody@example.com").head == "535 5.7.8"
    assert len(until_arrived(gateway, "bob@example.net")) == 1


def test_the_server_killed_in_the_middle_and_back(gateway: GatewayProcess, server: Server) -> None:
    with signed_in(gateway) as idle, signed_in(gateway) as writes, greeted(gateway) as fresh, signed_in(gateway) as other:
        writes.envelope("bob@example.net")
        other.envelope("carl@example.net")
        server.process.kill()
        try:
            for password in (PASSWORD, "guess", PASSWORD):  # in the memo or not
                assert is_away(fresh.sign_in(password=password))
            assert is_away(fresh.sign_in("nobody@example.com"))
            assert idle.command(f"MAIL FROM:<{LOGIN}>").head == "451 4.3.0"
            assert writes.data(message("away")).head == "451 4.3.0"
            assert gateway.get("/readyz")[0] == 503
            assert other.command("RCPT TO:<dave@example.net>").code == 250  # needs no login table
        finally:
            server.process.start()
        assert fresh.sign_in().code == 235
        for name, wire in (("idle", idle), ("writes", writes)):
            wire.envelope("bob@example.net")
            assert wire.data(message(f"{name} is back")).code == 250
        assert other.data(message("other")).code == 250
    assert len(until_arrived(gateway, "bob@example.net", 2)) == 2
    until_arrived(gateway, "dave@example.net")
    assert gateway.get("/readyz")[0] == 200
    assert not gateway.logged("unexpected error")


def keep_trying(gateway: GatewayProcess, guessing: bool, enough: threading.Event) -> Counter[str]:
    """What sign-ins were told, one after the other, until it is enough."""
    told = Counter[str]()
    while not enough.is_set():
        password = f"guess {told.total()}" if guessing else PASSWORD
        told[attempt(gateway, password=password).head] += 1
    return told


def test_sign_ins_across_a_kill_are_never_told_anything_wrong(gateway: GatewayProcess, server: Server) -> None:
    enough = threading.Event()
    with ThreadPoolExecutor(6) as threads:
        turns = [threads.submit(keep_trying, gateway, guessing, enough) for guessing in (False, True) * 3]
        try:
            for _ in range(2):
                until(lambda: attempt(gateway).code == 235, gateway.story)
                server.process.kill()
                try:
                    until(lambda: gateway.figure("auth_attempts_total", result="unavailable") > 10, gateway.story)
                finally:
                    server.process.start()
            until(lambda: attempt(gateway).code == 235, gateway.story)
        finally:
            enough.set()
        told = [turn.result() for turn in turns]
    assert set(sum(told[::2], Counter())) == {"235 2.7.0", "454 4.7.0"}
    assert set(sum(told[1::2], Counter())) == {"535 5.7.8", "454 4.7.0"}
    assert not gateway.logged("unexpected error")


def has_answered(wire: Wire) -> bool:
    return bool(select.select([wire.sock], [], [], 0)[0])


def test_a_server_that_hangs_holds_up_nobody_who_does_not_need_it(gateway: GatewayProcess, server: Server) -> None:
    with ExitStack() as stack:
        waiting = [stack.enter_context(greeted(gateway)) for _ in range(12)]  # more than there are threads to ask
        busy = stack.enter_context(signed_in(gateway))
        busy.envelope("bob@example.net")
        server.process.freeze()
        try:
            for wire in waiting:
                wire.send(f"AUTH PLAIN {plain(LOGIN, PASSWORD)}\r\n".encode())
            assert {busy.command(f"RCPT TO:<r{number}@example.net>").code for number in range(5)} == {250}
            assert busy.command("DATA").code == 354
            busy.send(message("busy", body=(b"x" * 70 + b"\r\n") * 1000))
            assert gateway.get("/healthz")[0] == 200
            assert not any(map(has_answered, waiting))
            assert all(is_away(wire.reply()) for wire in waiting)
        finally:
            server.process.thaw()
        busy.send(b".\r\n")
        assert busy.reply().code == 250
        until(lambda: attempt(gateway).code == 235, gateway.story)
    until_arrived(gateway, "bob@example.net")


def test_tables_that_django_made_in_postgresql(install: Install, postgresql: Postgresql) -> None:
    database = postgresql.database()
    made = subprocess.run([sys.executable, DJANGO, database.url], capture_output=True, text=True, check=False, timeout=100)
    assert made.returncode == 0, made.stderr
    users: dict[str, str] = json.loads(made.stdout)
    logins = [login for login in users if login.endswith("@Example.com")]
    columns = {"max_message_size": ""}
    gateway = install(accounts={"url": database.url, "preset": "django", "columns": columns}, lockout=NO_LOCKOUT).start()
    assert len(logins) == 6
    for login in logins:
        secret = password_of(login)
        assert attempt(gateway, login.lower(), secret).code == 235, login
        assert attempt(gateway, login.lower(), secret.upper()).head == "535 5.7.8"
    assert attempt(gateway, "left@example.com", password_of(logins[0])).head == "535 5.7.8"
    assert attempt(gateway, "nobody@example.com", "").code == 535
    changed, other = logins[:2]
    with signed_in(gateway, changed, password_of(changed)) as wire:
        assert wire.command(f"MAIL FROM:<{changed.lower()}>").code == 250
        database.run("UPDATE auth_user SET password = :new WHERE email = :login", {"new": users[other], "login": changed})
        assert wire.command("RSET").code == 250
        assert wire.command(f"MAIL FROM:<{changed}>").head == "421 4.7.0"
    assert attempt(gateway, changed, password_of(changed)).head == "535 5.7.8"
    assert attempt(gateway, changed, password_of(other)).code == 235


def password_of(login: str) -> str:
    """As `django_project` gives it to each user."""
    return f"p\u00e4ssword {login.partition('@')[0]}"
