"""`lockouts ...` and `login history` over rows put into the store by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Connection, insert

from gateway.store.clock import now
from gateway.store.schema import credential, domain, failure, lockout, sign_in

Run = Callable[..., Result]
Put = Callable[..., None]

V4, V6 = "192.0.2.1/32", "2001:db8:1:2::/64"
DEMO = "a:1"  # demo@example.com, whom `init` made
NOBODY = "l:nobody@example.com"


def lock(connection: Connection, scope: str, subject: str, network: str, *, left: float = 240.0) -> None:
    values = {"scope": scope, "subject": subject, "stored_tag": "", "network": network}
    connection.execute(insert(lockout).values(at=now() - 7200.0, until=now() + left), values)


def failed(connection: Connection, subject: str, network: str, count: int) -> None:
    named = {"subject": subject, "stored_tag": "", "network": network, "known": False, "confirmed": True}
    for n in range(count):
        connection.execute(insert(failure).values(at=now()), {**named, "fingerprint": n})


def tried(connection: Connection, network: str, result: str, count: int, age: float, subject: str = DEMO) -> None:
    key = {"subject": subject, "day": 20_000, "network": network, "mechanism": "PLAIN", "result": result}
    connection.execute(insert(sign_in).values(first=now() - age - 3600, last=now() - age), {**key, "count": count})


def user(connection: Connection, name: str, number: int) -> None:
    """An SMTP user of a domain of account 1."""
    of = name.partition("@")[2]
    connection.execute(insert(domain).values(added=now()), {"name": of, "account_id": "1"})
    values = {"id": number, "domain": of, "slot": 1, "name": name, "stored": "", "last_network": ""}
    connection.execute(insert(credential).values(changed=now()), values)


@pytest.fixture
def filled(run: Run, put: Put) -> Run:
    """Four locks that hold, one that is over, and what was counted."""
    put(lock, "account_network", DEMO, V4, left=130.0)
    put(lock, "account", DEMO, "", left=600.0)
    put(lock, "network", "", V6, left=500.0)
    put(lock, "account_network", NOBODY, V6, left=200.0)
    put(lock, "account", DEMO, "", left=-1.0)
    put(failed, DEMO, V4, 5)
    put(failed, NOBODY, V6, 2)
    return run


def left(run: Run) -> set[tuple[str, str | None, str | None]]:
    rows = json.loads(run("lockouts", "list", "--json").stdout)
    return {(row["scope"], row["account_id"] or row["login"], row["network"]) for row in rows}


DEMO_LOCKS = {("account_network", "1", V4), ("account", "1", None)}
V6_LOCKS = {("network", None, V6), ("account_network", "nobody@example.com", V6)}


def test_list(filled: Run) -> None:
    result = filled("lockouts", "list")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["scope", "account", "network", "age", "left"],
        ["account", "1", "-", "2h", "10m"],
        ["network", "-", V6, "2h", "8m"],
        ["account_network", "nobody@example.com", "(no", "account)", V6, "2h", "3m"],
        ["account_network", "1", V4, "2h", "2m"],
    ]


def test_list_has_stable_keys(filled: Run) -> None:
    rows = json.loads(filled("lockouts", "list", "--json").stdout)
    assert {tuple(row) for row in rows} == {("scope", "account_id", "login", "credential", "network", "age", "left")}
    assert rows[0]["left"] == pytest.approx(600, abs=30)
    assert left(filled) == DEMO_LOCKS | V6_LOCKS


def test_nobody_is_locked_out(run: Run) -> None:
    result = run("lockouts", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nobody is locked out.\n")
    assert json.loads(run("lockouts", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("name", "said", "stay"),
    [
        ("demo@example.com", "2 lockouts and 5 failed sign-ins cleared.", V6_LOCKS),
        ("DEMO@Example.com", "2 lockouts and 5 failed sign-ins cleared.", V6_LOCKS),
        ("1", "2 lockouts and 5 failed sign-ins cleared.", V6_LOCKS),
        ("Nobody@example.com", "1 lockout and 2 failed sign-ins cleared.", DEMO_LOCKS | {("network", None, V6)}),
        (V4, "1 lockout and 5 failed sign-ins cleared.", V6_LOCKS | {("account", "1", None)}),
        ("192.0.2.1", "1 lockout and 5 failed sign-ins cleared.", V6_LOCKS | {("account", "1", None)}),
        ("2001:db8:1:2:3::4", "2 lockouts and 2 failed sign-ins cleared.", DEMO_LOCKS),
        (V6, "2 lockouts and 2 failed sign-ins cleared.", DEMO_LOCKS),
    ],
)
def test_clear(filled: Run, name: str, said: str, stay: set[object]) -> None:
    result = filled("lockouts", "clear", name)
    assert (result.exit_code, result.stdout) == (0, f"{said}\n")
    assert left(filled) == stay
    again = filled("lockouts", "clear", name)
    assert (again.exit_code, again.stdout, len(again.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize("name", ["else@example.com", "2", "198.51.100.1", "2001:db8::/48"])
def test_nothing_to_clear(filled: Run, name: str) -> None:
    result = filled("lockouts", "clear", name)
    assert result.exit_code == 1
    assert result.stderr == f"nothing is locked or counted for {name if '.1' not in name else name + '/32'}\n"
    assert left(filled) == DEMO_LOCKS | V6_LOCKS


def test_clear_when_the_login_table_is_away(folder: Path, filled: Run) -> None:
    (folder / "var/accounts.db").unlink()
    assert filled("lockouts", "clear", "demo@example.com").exit_code == 1
    assert filled("lockouts", "clear", "192.0.2.1").exit_code == 0  # a network needs no login table


def test_history(run: Run, put: Put) -> None:
    put(tried, V4, "ok", 12, 1000.0)
    put(tried, V6, "stale", 3, 7200.0)
    put(tried, "", "wrong", 40, 90_000.0)
    put(tried, "198.51.100.1/32", "ok", 1, 1.0, subject="a:2")
    result = run("login", "history", "Demo@example.com")
    assert result.exit_code == 0
    heading, first, second, third, empty, last = result.stdout.splitlines()
    assert heading.split() == ["network", "mechanism", "result", "count", "first", "last"]
    assert first.split() == [V4, "PLAIN", "ok", "12", "77m", "ago", "17m", "ago"]
    assert second.split()[:4] == [V6, "PLAIN", "stale", "3"]
    assert third.split()[:4] == ["others", "PLAIN", "wrong", "40"]
    assert (empty, last) == ("", f"An old password is still used from: {V6}")


def test_history_has_stable_keys(run: Run, put: Put) -> None:
    put(tried, V4, "stale", 12, 60.0)
    [row] = json.loads(run("login", "history", "demo@example.com", "--json").stdout)
    assert list(row) == ["network", "mechanism", "result", "first", "last", "count"]
    assert (row["network"], row["count"], row["last"]) == (V4, 12, pytest.approx(60, abs=30))


def test_history_is_limited(run: Run, put: Put) -> None:
    for n in range(3):
        put(tried, f"192.0.2.{n}/32", "ok", 1, float(n * 100))
    rows = json.loads(run("login", "history", "demo@example.com", "--json", "--limit", "2").stdout)
    assert [row["network"] for row in rows] == ["192.0.2.0/32", "192.0.2.1/32"]


def test_no_history(run: Run) -> None:
    result = run("login", "history", "demo@example.com")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No attempts in 30 days.\n")
    unknown = run("login", "history", "nobody@example.com")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "no account has the login nobody@example.com, and no SMTP user the name\n",
    )


class TestOfAnSmtpUser:
    @pytest.fixture(autouse=True)
    def _locked(self, filled: Run, put: Put) -> None:
        """Beside the account that it belongs to."""
        put(user, "till@shop.example", 7)
        put(lock, "account", "c:7", "", left=900.0)
        put(lock, "account_network", "c:8", V4, left=950.0)  # of one that was deleted
        put(failed, "c:7", V4, 3)

    def test_list(self, run: Run) -> None:
        first, second, *_ = json.loads(run("lockouts", "list", "--json").stdout)
        assert (first["credential"], first["login"], first["account_id"]) == (None, None, None)
        assert (second["credential"], second["login"], second["account_id"]) == ("till@shop.example", None, None)
        assert [line.split()[1] for line in run("lockouts", "list").stdout.splitlines()[1:3]] == ["c:8", "till@shop.example"]

    def test_clear(self, run: Run) -> None:
        assert run("lockouts", "clear", "Till@Shop.example").stdout == "1 lockout and 3 failed sign-ins cleared.\n"
        assert ("account", "1", None) in left(run)
        assert run("lockouts", "clear", "Till@Shop.example").exit_code == 1

    def test_clear_of_the_account_leaves_it(self, run: Run) -> None:
        assert run("lockouts", "clear", "demo@example.com").stdout == "2 lockouts and 5 failed sign-ins cleared.\n"
        assert "till@shop.example" in run("lockouts", "list").stdout

    def test_history(self, run: Run, put: Put) -> None:
        put(tried, V4, "ok", 12, 60.0)
        put(tried, V6, "wrong", 3, 60.0, subject="c:7")
        [row] = json.loads(run("login", "history", "TILL@shop.example", "--json").stdout)
        assert (row["network"], row["result"], row["count"]) == (V6, "wrong", 3)


@pytest.mark.parametrize("name", ["a\nb@example.com", "x" * 5000, "\0", "\udcff", "é@\x1b[2J"])
@pytest.mark.parametrize("command", [("lockouts", "clear"), ("login", "history")])
def test_hostile_names(filled: Run, command: tuple[str, str], name: str) -> None:
    result = filled(*command, name)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert len(result.stderr) < 600
    assert result.stderr.strip().isprintable()
    assert "bug" not in result.stderr
