"""`login test`."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from click.testing import Result

Run = Callable[..., Result]
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()

ROWS = [
    (1, "ann@example.com", HASH, 1),
    (2, "off@example.com", HASH, 0),
    (3, "null@example.com", None, 1),
    (4, "odd@example.com", "md5:" + "5ebe" * 8, 1),
    (5, "Twice@example.com", HASH, 1),
    (6, "twice@example.com", HASH, 1),
]


@pytest.fixture(autouse=True)
def _own_table(folder: Path, settings: Callable[..., None]) -> None:
    own = sqlite3.connect(folder / "own.db")
    own.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, password_hash TEXT, is_active INTEGER)")
    own.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", ROWS)
    own.commit()
    own.close()
    settings("sqlite:///var/accounts.db", "sqlite:///own.db")


@pytest.mark.parametrize(
    ("login", "password", "reply", "why"),
    [
        ("ANN@example.com", "secret", "235 2.7.0", "the password of account 1 is right"),
        ("ann@example.com", "Secret", "535 5.7.8", "account 1 has another password"),
        ("bob@example.com", "secret", "535 5.7.8", 'no row of "users" has this login in column "email"'),
        ("x" * 255, "secret", "535 5.7.8", "no account can have this login"),
        ("off@example.com", "secret", "535 5.7.8", 'account 2 is right, but it is disabled ("is_active"'),
        ("off@example.com", "wrong", "535 5.7.8", "account 2 has another password, but it is disabled"),
        ("null@example.com", "", "535 5.7.8", "account 3 has no password"),
        ("odd@example.com", "secret", "454 4.7.0", "a stored hash of an unknown kind"),
        ("twice@example.com", "secret", "454 4.7.0", "ids 5, 6"),
    ],
)
def test_reply_and_reason(run: Run, login: str, password: str, reply: str, why: str) -> None:
    result = run("login", "test", login, "--password-stdin", stdin=password + "\n")
    first, second = result.stdout.splitlines()
    assert first.startswith(f"Reply: {reply} ")
    assert second.startswith("Why: ")
    assert why in second
    assert result.exit_code == (0 if reply.startswith("235") else 1)
    assert "$2b$" not in result.output
    assert "5ebe" not in result.output


def test_the_password_is_asked_for_once_and_not_shown(run: Run) -> None:
    result = run("login", "test", "ann@example.com", stdin="secret\n")
    assert result.exit_code == 0
    assert "secret" not in result.output


@pytest.mark.parametrize("url", ["sqlite:///gone.db", "postgresql://app:hidden@127.0.0.1:1/app"])
def test_table_away(folder: Path, run: Run, settings: Callable[..., None], url: str) -> None:
    settings("sqlite:///own.db", url)
    result = run("login", "test", "ann@example.com", "--password-stdin", stdin="secret")
    assert result.exit_code == 1
    assert "Reply: 454 4.7.0" in result.stdout
    assert "could not be checked" in result.stdout
    assert "hidden" not in result.output
    assert not (folder / "gone.db").exists()


def test_missing_column(run: Run, settings: Callable[..., None]) -> None:
    settings("# [accounts.columns]", '[accounts.columns]\nactive = "enabled"')
    result = run("login", "test", "ann@example.com", "--password-stdin", stdin="secret")
    assert result.exit_code == 1
    assert "enabled" in result.stdout
