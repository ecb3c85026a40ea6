"""`credentials ...`."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Connection, select, update

from gateway.store.clock import now
from gateway.store.schema import credential

Run = Callable[..., Result]
Put = Callable[..., None]
Settings = Callable[..., None]

TILL = "till@shop.example"


@pytest.fixture(autouse=True)
def _domain(run: Run) -> None:
    assert run("domains", "add", "shop.example", "demo@example.com").exit_code == 0


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(run("credentials", "list", "--json", *arguments).stdout)
    assert isinstance(found, list)
    return found


def names(run: Run, *arguments: str) -> list[str]:
    return [row["name"] for row in listed(run, *arguments)]


def signs_in(run: Run, name: str, password: str) -> bool:
    return run("login", "test", name, "--password-stdin", stdin=password + "\n").exit_code == 0


def made(result: Result) -> str:
    """The password that a command has made, which it says once."""
    assert result.exit_code == 0, result.output
    [line] = [line for line in result.stdout.splitlines() if line.startswith("Password: ")]
    password = line.removeprefix("Password: ")
    assert result.output.count(password) == 1
    return password


def refused(result: Result) -> str:
    """What it says in its one line."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert "bug" not in result.stderr
    assert result.stderr.strip().isprintable()
    return result.stderr


class TestCreate:
    def test_a_password_is_made(self, run: Run) -> None:
        result = run("credentials", "create", "Till@Shop.example")
        assert result.stdout.splitlines()[0] == f"{TILL}: created; it can sign in from now on."
        password = made(result)
        assert signs_in(run, "TILL@shop.example", password)
        assert not signs_in(run, TILL, password + "x")
        assert made(run("credentials", "create", "fax@shop.example")) != password

    def test_json(self, run: Run) -> None:
        created = json.loads(run("credentials", "create", "Till@Shop.example", "--json").stdout)
        assert list(created) == ["name", "password"]
        assert created["name"] == TILL
        assert signs_in(run, TILL, created["password"])

    def test_a_password_of_ones_own(self, run: Run) -> None:
        result = run("credentials", "create", TILL, "--password-stdin", stdin="correct hörse\n")
        assert (result.exit_code, result.stdout) == (0, f"{TILL}: created; it can sign in from now on.\n")
        assert signs_in(run, TILL, "correct hörse")
        assert not signs_in(run, TILL, "correct horse")

    @pytest.mark.parametrize("as_json", [(), ("--json",)])
    def test_a_chosen_password_is_never_shown(self, run: Run, as_json: tuple[str, ...]) -> None:
        asked = run("credentials", "create", TILL, "--ask", *as_json, stdin="correct horse\ncorrect horse\n")
        read = run("credentials", "reset", TILL, "--password-stdin", *as_json, stdin="battery staple\n")
        for result in (asked, read):
            assert result.exit_code == 0
            assert "horse" not in result.output
            assert "staple" not in result.output
            if as_json:
                assert json.loads(result.stdout) == {"name": TILL, "password": None}
        assert signs_in(run, TILL, "battery staple")

    def test_a_password_that_is_too_short_is_not_asked_for_again(self, run: Run) -> None:
        result = run("credentials", "create", TILL, "--ask", stdin="seven77\nseven77\n")
        assert (result.exit_code, names(run)) == (1, [])
        assert "too short" in result.stderr
        assert "Repeat" not in result.output

    def test_two_different_answers_make_nothing(self, run: Run) -> None:
        assert run("credentials", "create", TILL, "--ask", stdin="correct horse\nbattery staple\n").exit_code == 1
        assert names(run) == []

    @pytest.mark.parametrize("password", ["", "seven77", "x" * 73, "é" * 37, "tab\tulator", "nul\0nul\0"])
    def test_a_password_that_is_not_taken(self, run: Run, password: str) -> None:
        said = refused(run("credentials", "create", TILL, "--password-stdin", stdin=password + "\n"))
        assert "the password" in said
        assert not password or password not in said
        assert names(run) == []

    def test_both_ways_of_choosing(self, run: Run) -> None:
        result = run("credentials", "create", TILL, "--ask", "--password-stdin", stdin="correct horse\n")
        assert (result.exit_code, result.stdout) == (2, "")
        assert names(run) == []

    def test_no_password_on_standard_input(self, run: Run) -> None:
        assert run("credentials", "create", TILL, "--password-stdin", stdin="").exit_code == 2

    def test_at_most_five(self, run: Run) -> None:
        five = [f"u{n}@shop.example" for n in range(5)]
        for name in five:
            made(run("credentials", "create", name))
        assert "5 SMTP users" in refused(run("credentials", "create", "u5@shop.example"))
        assert sorted(names(run)) == five
        run("credentials", "delete", five[2])
        made(run("credentials", "create", "u5@shop.example"))

    def test_of_another_domain(self, run: Run) -> None:
        assert "smtp-gateway domains add" in refused(run("credentials", "create", "till@other.example"))

    def test_there_is_one(self, run: Run) -> None:
        password = made(run("credentials", "create", TILL))
        assert TILL in refused(run("credentials", "create", "TILL@shop.example"))
        assert signs_in(run, TILL, password)

    @pytest.mark.parametrize("name", ["demo@example.com", "DEMO@Example.com", '"demo"@example.com'])
    def test_a_login_of_the_product(self, run: Run, name: str) -> None:
        run("domains", "add", "example.com", "demo@example.com")
        assert "is the login of account 1 already" in refused(run("credentials", "create", name))
        assert names(run) == []

    def test_a_login_of_the_product_spelt_as_its_owner_does(self, folder: Path, run: Run) -> None:
        run("domains", "add", "bücher.example", "demo@example.com")
        table = sqlite3.connect(folder / "var/accounts.db")
        table.execute("INSERT INTO users (email, password_hash) VALUES ('ann@bücher.example', '')")
        table.commit()
        table.close()
        assert "is the login of account 2 already" in refused(run("credentials", "create", "ann@bücher.example"))
        made(run("credentials", "create", "bob@Bücher.example"))
        assert names(run) == ["bob@xn--bcher-kva.example"]

    def test_the_login_table_away(self, folder: Path, run: Run) -> None:
        """Nobody can say then whether the name is free."""
        (folder / "var/accounts.db").rename(folder / "var/away.db")
        refused(run("credentials", "create", TILL))
        (folder / "var/away.db").rename(folder / "var/accounts.db")
        assert names(run) == []


HOSTILE = ["", "till", "@shop.example", "a b@shop.example", "till@shop.example\n", "\x1b[2J@shop.example", "\0@shop.example"]
HOSTILE += [
    "x" * 243 + "@shop.example",
    "till@" + "x" * 300,
    "till@[192.0.2.1]",
    "till\u202e@shop.example",
    "\udcff@shop.example",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("verb", ["create", "reset", "delete"])
def test_no_name(run: Run, verb: str, name: str) -> None:
    assert len(refused(run("credentials", verb, name))) < 600
    assert names(run) == []


@pytest.mark.parametrize("verb", ["reset", "delete"])
def test_not_found(run: Run, verb: str) -> None:
    assert TILL in refused(run("credentials", verb, TILL))


def test_reset(run: Run) -> None:
    old = made(run("credentials", "create", TILL))
    result = run("credentials", "reset", "Till@shop.example")
    assert result.stdout.splitlines()[0] == f"{TILL}: the new password counts from now on."
    assert signs_in(run, TILL, made(result))
    assert not signs_in(run, TILL, old)
    assert json.loads(run("credentials", "reset", TILL, "--json").stdout)["name"] == TILL


def test_delete(run: Run) -> None:
    password = made(run("credentials", "create", TILL))
    result = run("credentials", "delete", "Till@shop.example")
    assert (result.exit_code, result.stdout) == (0, f"{TILL}: deleted.\n")
    assert not signs_in(run, TILL, password)
    assert names(run) == []


def test_list(run: Run) -> None:
    result = run("credentials", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No SMTP users.\n")
    run("domains", "add", "other.example", "demo@example.com")
    run("credentials", "create", TILL)
    run("credentials", "create", "fax@other.example")
    assert sorted(names(run)) == ["fax@other.example", TILL]
    assert names(run, "Shop.example") == [TILL]
    assert "none.example" in refused(run("credentials", "list", "none.example"))
    [row] = listed(run, "shop.example")
    assert list(row) == ["id", "name", "domain", "account_id", "login", "password_age", "last_used", "last_network", "shadowed"]
    assert {**row, "password_age": 0} == {
        "id": 1,
        "name": TILL,
        "domain": "shop.example",
        "account_id": "1",
        "login": "demo@example.com",
        "password_age": 0,
        "last_used": None,
        "last_network": None,
        "shadowed": False,
    }
    assert [line.split() for line in run("credentials", "list", "shop.example").stdout.splitlines()] == [
        ["id", "name", "account", "login", "password", "of", "last", "used", "from"],
        ["1", TILL, "1", "demo@example.com", "0s", "ago", "never", "-"],
    ]


def test_list_says_when_and_from_where_each_was_last_used(run: Run, put: Put) -> None:
    run("credentials", "create", TILL)

    def used(connection: Connection) -> None:
        connection.execute(update(credential).values(last_used=now() - 7200.0, last_network="192.0.2.1/32"))

    put(used)
    [row] = listed(run)
    assert (row["last_used"], row["last_network"]) == (pytest.approx(7200, abs=60), "192.0.2.1/32")
    assert run("credentials", "list").stdout.splitlines()[1].split()[-3:] == ["2h", "ago", "192.0.2.1/32"]


class TestALoginOfThatName:
    """It came after the SMTP user, and wins."""

    @pytest.fixture(autouse=True)
    def _users(self, run: Run) -> None:
        for name in (TILL, "fax@shop.example"):
            made(run("credentials", "create", name))
        assert run("accounts", "add", "Till@Shop.example", "--password-stdin", stdin="secret\n").exit_code == 0

    def test_list(self, run: Run) -> None:
        assert {row["name"]: row["shadowed"] for row in listed(run)} == {TILL: True, "fax@shop.example": False}
        heading, fax, till = run("credentials", "list").stdout.splitlines()
        assert heading.endswith("  note")
        assert fax.endswith("  -")
        assert till.endswith("  login wins")

    def test_list_without_the_login_table(self, folder: Path, run: Run) -> None:
        (folder / "var/accounts.db").unlink()
        assert {row["shadowed"] for row in listed(run)} == {None}
        result = run("credentials", "list")
        assert (result.exit_code, len(result.stderr.splitlines())) == (0, 1)
        assert "note" not in result.stdout

    def test_no_reset(self, run: Run, put: Put) -> None:
        before: list[str] = []
        put(lambda connection: before.extend(connection.execute(select(credential.c.stored)).scalars()))
        said = refused(run("credentials", "reset", "TILL@shop.example"))
        assert "is the login of account 2 already" in said
        after: list[str] = []
        put(lambda connection: after.extend(connection.execute(select(credential.c.stored)).scalars()))
        assert after == before
        made(run("credentials", "reset", "fax@shop.example"))

    def test_delete(self, run: Run) -> None:
        assert run("credentials", "delete", TILL).exit_code == 0


def test_a_reset_does_without_the_login_table(folder: Path, run: Run) -> None:
    old = made(run("credentials", "create", TILL))
    (folder / "var/accounts.db").rename(folder / "var/away.db")
    new = made(run("credentials", "reset", TILL))
    (folder / "var/away.db").rename(folder / "var/accounts.db")
    assert (signs_in(run, TILL, old), signs_in(run, TILL, new)) == (False, True)


def test_no_stored_form_is_ever_shown(run: Run, put: Put) -> None:
    run("credentials", "create", TILL)
    run("credentials", "create", "fax@shop.example", "--password-stdin", stdin="correct horse\n")
    stored: list[str] = []
    put(lambda connection: stored.extend(connection.execute(select(credential.c.stored)).scalars()))
    assert len(set(stored)) == 2
    for arguments in (("credentials", "list"), ("credentials", "list", "--json"), ("domains", "list", "--json")):
        shown = run(*arguments).output
        assert not any(form in shown or form.rpartition("}")[2] in shown for form in stored)
