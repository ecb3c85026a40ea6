"""`domains ...`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

LONG = ".".join(["x" * 60] * 5)


@pytest.fixture(autouse=True)
def _two_accounts(run: Run) -> None:
    run("accounts", "add", "ann@example.com", "--password-stdin", stdin="secret\n")


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(run("domains", "list", "--json", *arguments).stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("arguments", [("Shop.Example", "Ann@example.com"), ("Ann@example.com", "Shop.Example")])
def test_add(run: Run, arguments: tuple[str, str]) -> None:
    result = run("domains", "add", *arguments)
    assert (result.exit_code, result.stdout) == (0, "shop.example: belongs to ann@example.com.\n")
    [row] = listed(run)
    assert list(row) == ["domain", "account_id", "login", "age", "credentials"]
    assert {**row, "age": 0} == {
        "domain": "shop.example",
        "account_id": "2",
        "login": "ann@example.com",
        "age": 0,
        "credentials": 0,
    }
    again = run("domains", "add", *arguments)
    assert (again.exit_code, again.stdout) == (0, "shop.example: belonged already to ann@example.com.\n")


def test_add_in_the_language_of_its_owner(run: Run) -> None:
    assert run("domains", "add", "Bücher.example", "ann@example.com").stdout.startswith("xn--bcher-kva.example: ")
    assert run("domains", "add", "xn--bcher-kva.example", "ann@example.com").stdout.endswith("already to ann@example.com.\n")


def test_a_domain_has_one_account(run: Run) -> None:
    run("domains", "add", "shop.example", "ann@example.com")
    result = run("domains", "add", "shop.example", "demo@example.com")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "shop.example: belongs to ann@example.com (account 2);" in result.stderr
    run("accounts", "delete", "ann@example.com")
    assert "shop.example: belongs to account 2;" in run("domains", "add", "shop.example", "demo@example.com").stderr
    run("accounts", "add", "bob@example.com", "--password-stdin", stdin="secret\n")
    assert [row["account_id"] for row in listed(run)] == ["2"]


@pytest.mark.parametrize(
    "domain",
    [
        *("", "localhost", "[192.0.2.1]", "a b.example", "shop..example", "shop.example\n", "\x1b[2J.example", "\0.example"),
        *(LONG, "straße\u200b.example", "\udcff.example", "a@b@shop.example"),
    ],
)
@pytest.mark.parametrize("verb", ["add", "remove"])
def test_no_domain(run: Run, domain: str, verb: str) -> None:
    arguments = (domain, "ann@example.com") if verb == "add" else (domain,)
    result = run("domains", verb, *arguments)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "bug" not in result.stderr
    assert result.stderr.strip().isprintable()
    assert listed(run) == []


@pytest.mark.parametrize(
    ("first", "second", "blamed"),
    [
        ("zzz@example.info", "ann@example.com", "zzz@example.info: has an @"),
        ("bad domain", "ann@example.com", "bad domain: cannot be read as a domain"),
        ("ann@example.com", "bad domain", "bad domain: cannot be read as a domain"),
        ("shop.example", "ann", "no account has the login ann"),
        ("nobody@example.com", "shop.example", "no account has the login nobody@example.com"),
    ],
)
def test_what_is_wrong_is_blamed(run: Run, first: str, second: str, blamed: str) -> None:
    result = run("domains", "add", first, second)
    assert (result.exit_code, result.stderr[: len(blamed)]) == (1, blamed)


@pytest.mark.parametrize("login", ["nobody@example.com", "nobody", "x" * 300 + "@example.com", "a\nb@example.com", "2"])
def test_no_account(run: Run, login: str) -> None:
    result = run("domains", "add", "shop.example", login)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "no account has the login " in result.stderr
    assert listed(run) == []


def test_list(run: Run) -> None:
    assert run("domains", "list").stderr == "No domains.\n"
    run("domains", "add", "shop.example", "ann@example.com")
    run("domains", "add", "demo.example", "demo@example.com")
    run("credentials", "create", "till@shop.example")
    rows = [line.split() for line in run("domains", "list").stdout.splitlines()]
    assert rows == [
        ["domain", "account", "login", "added", "SMTP", "users"],
        ["demo.example", "1", "demo@example.com", "0s", "ago", "0"],
        ["shop.example", "2", "ann@example.com", "0s", "ago", "1"],
    ]
    assert [row["domain"] for row in listed(run, "--account", "ANN@example.com")] == ["shop.example"]
    unknown = run("domains", "list", "--account", "nobody@example.com")
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_an_account_that_is_gone(run: Run) -> None:
    run("domains", "add", "shop.example", "ann@example.com")
    run("accounts", "delete", "ann@example.com")
    assert [(row["login"], row["account_id"]) for row in listed(run)] == [(None, "2")]


def test_remove(run: Run) -> None:
    run("domains", "add", "shop.example", "ann@example.com")
    for name in ("till", "fax"):
        run("credentials", "create", f"{name}@shop.example")
    result = run("domains", "remove", "SHOP.example")
    assert (result.exit_code, result.stdout) == (0, "shop.example: removed, and 2 SMTP users with it.\n")
    assert listed(run) == []
    assert json.loads(run("credentials", "list", "--json").stdout) == []
    again = run("domains", "remove", "shop.example")
    assert (again.exit_code, again.stdout, len(again.stderr.splitlines())) == (1, "", 1)


def on_a_terminal(folder: Path, typed: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of `domains remove ARGUMENTS...`, with `typed` on its terminal."""
    program = [sys.executable, "-c", "from gateway.cli import main; main()", "--config", str(folder / "gateway.toml")]
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, typed.encode())
        command = [*program, "domains", "remove", *arguments]
        done = subprocess.run(
            command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("typed", "arguments", "status", "asked", "stay"),
    [
        ("n\n", (), 1, True, 1),
        ("\n", (), 1, True, 1),
        ("y\n", (), 0, True, 0),
        ("", ("--yes",), 0, False, 0),
    ],
)
def test_remove_asks_on_a_terminal(
    folder: Path, run: Run, typed: str, arguments: tuple[str, ...], status: int, asked: bool, stay: int
) -> None:
    run("domains", "add", "shop.example", "ann@example.com")
    run("credentials", "create", "till@shop.example")
    code, output = on_a_terminal(folder, typed, "shop.example", *arguments)
    assert code == status
    assert ("Remove shop.example and its 1 SMTP user?" in output) == asked
    assert len(listed(run)) == stay


def test_remove_asks_nothing_about_a_domain_that_is_not_there(folder: Path) -> None:
    code, output = on_a_terminal(folder, "", "shop.example")
    assert (code, len(output.splitlines())) == (1, 1)
    assert "shop.example" in output
