"""What doctor says about a login table that does not fit the configuration."""

from pathlib import Path
from typing import Any

import pytest

from gateway.store.inspect import inspect_accounts
from tests.logins import PLAIN, accounts, run_sql

BCRYPT = "$2b$04$" + "a" * 53


def found(folder: Path, **settings: Any) -> list[tuple[str, str, str]]:
    return [(one.level, one.key, one.text) for one in inspect_accounts(accounts(folder, **settings))]


def test_all_is_well(tmp_path: Path) -> None:
    run_sql(tmp_path, PLAIN)
    run_sql(tmp_path, "INSERT INTO users VALUES (NULL, ?, ?, 1)", ("a@b", BCRYPT), ("c@d", BCRYPT))
    assert found(tmp_path) == [
        ("ok", "accounts.table", '"users" has 2 rows'),
        ("ok", "accounts.columns.login", "an index serves the look-up"),
        ("ok", "accounts.columns.password", "kinds of hashes among 2: bcrypt (2)"),
    ]


def test_a_view_will_do(tmp_path: Path) -> None:
    run_sql(tmp_path, PLAIN)
    run_sql(tmp_path, "INSERT INTO users VALUES (NULL, ?, ?, 1)", ("a@b", BCRYPT))
    run_sql(tmp_path, "CREATE VIEW people AS SELECT * FROM users")
    assert {level for level, _, _ in found(tmp_path, table="people")} == {"ok"}


def test_no_database(tmp_path: Path) -> None:
    [(level, key, text)] = found(tmp_path)
    assert (level, key) == ("problem", "accounts.url")
    assert text == f"cannot be read: database: OperationalError: {tmp_path}/accounts.db: No such file or directory"


def test_no_table(tmp_path: Path) -> None:
    run_sql(tmp_path, PLAIN)
    assert found(tmp_path, table="user") == [
        ("problem", "accounts.table", 'no table or view "user"; there is users; did you mean "users"?')
    ]


def test_no_column(tmp_path: Path) -> None:
    run_sql(tmp_path, PLAIN)
    [login, active] = found(tmp_path, columns={"login": "mail", "active": "not:banned"})
    has = "it has id, email, password_hash, is_active"
    assert login == ("problem", "accounts.columns.login", f'"users" has no column "mail"; {has}; did you mean "email"?')
    assert active == (
        "problem",
        "accounts.columns.active",
        f'"users" has no column "banned"; {has}; set it to "" if there is none',
    )


@pytest.mark.parametrize(
    ("index", "case_sensitive", "level"),
    [("email", False, "warning"), ("email", True, "ok"), ("email COLLATE NOCASE", False, "ok")],
)
def test_the_index_must_fit_the_comparison(tmp_path: Path, index: str, case_sensitive: bool, level: str) -> None:
    run_sql(tmp_path, "CREATE TABLE users (id, email, password_hash, is_active)")
    run_sql(tmp_path, f"CREATE INDEX i ON users ({index})")
    run_sql(tmp_path, "INSERT INTO users VALUES (1, 'a@b', NULL, 1)")
    said = [one for one in found(tmp_path, case_sensitive=case_sensitive) if one[1] == "accounts.columns.login"]
    assert [one[0] for one in said] == [level]
    if level == "warning":
        assert "CREATE INDEX ... ON users (email COLLATE NOCASE)" in said[0][2]


@pytest.mark.parametrize(
    ("stored", "level"), [((BCRYPT, "hunter2"), "warning"), (("hunter2", "swordfish"), "problem"), ((BCRYPT, None), "ok")]
)
def test_kinds_of_hashes_and_never_a_hash(tmp_path: Path, stored: tuple[str | None, ...], level: str) -> None:
    run_sql(tmp_path, PLAIN)
    run_sql(tmp_path, "INSERT INTO users VALUES (NULL, ?, ?, 1)", *((f"{n}@b", one) for n, one in enumerate(stored)))
    said = found(tmp_path)
    assert [one[0] for one in said if one[1] == "accounts.columns.password"] == [level]
    assert not any(secret in str(said) for secret in stored if secret)


def test_a_driver_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    [(level, key, text)] = found(tmp_path, url="postgresql://app:hunter2@127.0.0.1:1/app")
    assert (level, key) == ("problem", "accounts.url")
    assert text.endswith("-m pip install --require-hashes -r requirements-drivers.txt")
    assert "hunter2" not in text


@pytest.mark.parametrize("url", ["postgresql://app:hunter2@127.0.0.1:1/app", "mysql://app:hunter2@127.0.0.1:1/app"])
def test_a_server_that_is_down_is_named_without_the_password(tmp_path: Path, url: str) -> None:
    [(level, key, text)] = found(tmp_path, url=url)
    assert (level, key) == ("problem", "accounts.url")
    assert "hunter2" not in text
    assert "onnect" in text
