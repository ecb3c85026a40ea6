"""`accounts ...`."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def accounts(run: Run) -> dict[str, dict[str, Any]]:
    return {each["login"]: each for each in json.loads(run("accounts", "list", "--json").stdout)}


def signs_in(run: Run, login: str, password: str) -> bool:
    return run("login", "test", login, "--password-stdin", stdin=password + "\n").exit_code == 0


def test_list(run: Run) -> None:
    assert accounts(run) == {
        "demo@example.com": {
            "id": "1",
            "login": "demo@example.com",
            "active": True,
            "max_message_size": None,
            "daily_recipients": None,
            "hash": "bcrypt",
        }
    }
    shown = run("accounts", "list").stdout.splitlines()
    assert shown[0].split() == ["id", "login", "active", "max", "message", "size", "daily", "recipients", "hash"]
    assert shown[1].split() == ["1", "demo@example.com", "yes", "-", "-", "bcrypt"]


def test_add(run: Run) -> None:
    result = run("accounts", "add", "ann@example.com", "--max-message-size", "1MiB", "--password-stdin", stdin="sécret\n")
    assert result.exit_code == 0
    assert accounts(run)["ann@example.com"]["max_message_size"] == 1 << 20
    assert signs_in(run, "ANN@example.com", "sécret")


def test_add_asks_twice(run: Run) -> None:
    result = run("accounts", "add", "ann@example.com", stdin="secret\nsecret\n")
    assert result.exit_code == 0
    assert "secret" not in result.output
    assert signs_in(run, "ann@example.com", "secret")


def test_two_different_answers_add_nothing(run: Run) -> None:
    assert run("accounts", "add", "ann@example.com", stdin="secret\nSecret\n").exit_code == 1
    assert "ann@example.com" not in accounts(run)


@pytest.mark.parametrize(
    ("login", "password", "says"),
    [
        ("DEMO@example.com", "secret", "already"),
        ("no address", "secret", "not an e-mail address"),
        ("ann@example.com", "\n", "empty"),
        ("ann@example.com", "x" * 73, "72 octets"),
    ],
)
def test_add_refuses(run: Run, login: str, password: str, says: str) -> None:
    result = run("accounts", "add", login, "--password-stdin", stdin=password)
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(accounts(run)) == ["demo@example.com"]


def test_no_password_on_standard_input(run: Run) -> None:
    result = run("accounts", "add", "ann@example.com", "--password-stdin", stdin="")
    assert result.exit_code == 2
    assert "no password on standard input" in result.stderr


def test_no_terminal_to_type_a_password(folder: Path) -> None:
    """A session of its own has no terminal that getpass could open."""
    program = "from gateway.cli import main; main()"
    argv = [sys.executable, "-c", program, "--config", str(folder / "gateway.toml"), "login", "test", "demo@example.com"]
    done = subprocess.run(argv, input="secret\n", capture_output=True, text=True, start_new_session=True, check=False)
    assert done.returncode == 2
    assert "no terminal here to type a password; use --password-stdin" in done.stderr


def test_a_limit_above_the_general_one_is_refused(run: Run) -> None:
    result = run("accounts", "add", "ann@example.com", "--max-message-size", "26MiB", "--password-stdin", stdin="secret\n")
    assert result.exit_code == 2
    assert "limits.message_size, 25MiB" in result.stderr
    assert "ann@example.com" not in accounts(run)


def test_a_limit_that_does_not_count_yet_is_said(run: Run, settings: Callable[..., None]) -> None:
    add = ("accounts", "add", "--max-message-size", "1MiB", "--password-stdin")
    assert 'max_message_size = "max_message_size"' in run(*add, "ann@example.com", stdin="secret\n").stderr
    settings("# [accounts.columns]", '[accounts.columns]\nmax_message_size = "max_message_size"')
    assert run(*add, "bob@example.com", stdin="secret\n").stderr == ""


@pytest.mark.parametrize("recipients", [0, 7])
def test_a_daily_limit_of_its_own(run: Run, settings: Callable[..., None], recipients: int) -> None:
    add = ("accounts", "add", "--daily-recipients", str(recipients), "--password-stdin")
    assert 'daily_recipients = "daily_recipients"' in run(*add, "ann@example.com", stdin="secret\n").stderr
    assert accounts(run)["ann@example.com"]["daily_recipients"] == recipients
    settings("# [accounts.columns]", '[accounts.columns]\ndaily_recipients = "daily_recipients"')
    assert run(*add, "bob@example.com", stdin="secret\n").stderr == ""


@pytest.mark.parametrize("recipients", ["-1", "many", str(2**31)])
def test_no_daily_limit(run: Run, recipients: str) -> None:
    result = run("accounts", "add", "ann@example.com", "--daily-recipients", recipients, "--password-stdin", stdin="secret\n")
    assert result.exit_code == 2
    assert "ann@example.com" not in accounts(run)


def test_a_demo_table_that_an_earlier_version_made(folder: Path, run: Run) -> None:
    table = sqlite3.connect(folder / "var/accounts.db")
    table.execute("ALTER TABLE users DROP COLUMN daily_recipients")
    table.commit()
    table.close()
    assert signs_in(run, "demo@example.com", (folder / "var/demo-password").read_text("utf-8").strip())
    assert accounts(run)["demo@example.com"]["daily_recipients"] is None
    assert (
        run("accounts", "add", "ann@example.com", "--daily-recipients", "7", "--password-stdin", stdin="secret").exit_code == 0
    )
    assert accounts(run)["ann@example.com"]["daily_recipients"] == 7


def test_a_password_that_is_no_text(folder: Path) -> None:
    program = [sys.executable, "-c", "from gateway.cli import main; main()", "--config", str(folder / "gateway.toml")]
    command = [*program, "accounts", "passwd", "demo@example.com", "--password-stdin"]
    done = subprocess.run(command, input=b"p\xe4ssword\n", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is not UTF-8 text" in done.stderr


def test_passwd(folder: Path, run: Run) -> None:
    old = (folder / "var/demo-password").read_text("utf-8").strip()
    assert run("accounts", "passwd", "Demo@example.com", "--password-stdin", stdin="changed\n").exit_code == 0
    assert signs_in(run, "demo@example.com", "changed")
    assert not signs_in(run, "demo@example.com", old)
    assert not (folder / "var/demo-password").exists()


def test_passwd_of_another_account_keeps_the_demo_password(folder: Path, run: Run) -> None:
    run("accounts", "add", "ann@example.com", "--password-stdin", stdin="secret")
    assert run("accounts", "passwd", "ann@example.com", "--password-stdin", stdin="changed").exit_code == 0
    assert (folder / "var/demo-password").exists()


def test_disable_and_enable(folder: Path, run: Run) -> None:
    password = (folder / "var/demo-password").read_text("utf-8").strip()
    assert run("accounts", "disable", "demo@example.com").exit_code == 0
    assert accounts(run)["demo@example.com"]["active"] is False
    assert not signs_in(run, "demo@example.com", password)
    assert run("accounts", "enable", "demo@example.com").exit_code == 0
    assert signs_in(run, "demo@example.com", password)


def test_delete(run: Run) -> None:
    assert run("accounts", "delete", "demo@example.com").exit_code == 0
    result = run("accounts", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(run("accounts", "list", "--json").stdout) == []


def test_an_id_is_never_given_out_again(run: Run) -> None:
    run("accounts", "delete", "demo@example.com")
    run("accounts", "add", "ann@example.com", "--password-stdin", stdin="secret")
    assert accounts(run)["ann@example.com"]["id"] == "2"


@pytest.mark.parametrize("verb", ["passwd", "disable", "enable", "delete"])
def test_not_found(run: Run, verb: str) -> None:
    result = run("accounts", verb, "bob@example.com", stdin="x\nx\n")
    assert result.exit_code == 1
    assert "bob@example.com: no such account" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("add", "a@b.example"), ("passwd", "a@b.example"), ("disable", "a@b.example"), ("delete", "a@b.example")],
)
@pytest.mark.parametrize("url", ["postgresql://app:hidden@db.invalid/app", "sqlite:///own.db", "sqlite:///missing.db"])
def test_a_table_of_ones_own_is_refused(
    folder: Path, run: Run, settings: Callable[..., None], url: str, arguments: tuple[str, ...]
) -> None:
    own = sqlite3.connect(folder / "own.db")
    own.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, password_hash TEXT, is_active INTEGER)")
    own.commit()
    own.close()
    before = (folder / "own.db").read_bytes()
    settings("sqlite:///var/accounts.db", url)
    result = run("accounts", *arguments, stdin="secret\nsecret\n")
    assert result.exit_code == 1
    assert "your own login table" in result.stderr
    assert "hidden" not in result.output
    assert (folder / "own.db").read_bytes() == before
    assert not (folder / "missing.db").exists()
