"""`suspensions ...` over rows put into the store by hand."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Connection, insert, select

from gateway.config import load
from gateway.store.clock import now, today
from gateway.store.engine import opened
from gateway.store.schema import suspension

Run = Callable[..., Result]
Suspend = Callable[..., None]
Settings = Callable[..., None]

ON_THIS_DAY = "Until 00:00 UTC, what is over its limit is deferred, unless it gets a higher one."


@pytest.fixture
def suspend(put: Callable[..., None]) -> Suspend:
    """Suspends an account, as of `ago` days and two hours ago."""

    def made(connection: Connection, account: str, ago: int = 0) -> None:
        values = {"account_id": account, "daily_limit": 100, "used": 98}
        connection.execute(insert(suspension).values(at=now() - ago * 86400.0 - 7200.0, day=today() - ago), values)

    return partial(put, made)


def listed(run: Run) -> list[dict[str, Any]]:
    found = json.loads(run("suspensions", "list", "--json").stdout)
    assert isinstance(found, list)
    return found


def test_list(run: Run, suspend: Suspend) -> None:
    suspend("1")
    suspend("gone", ago=3)
    result = run("suspensions", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["login", "account", "since", "limit", "used"],
        ["demo@example.com", "1", "2h", "ago", "100", "98"],
        ["-", "gone", "3d", "ago", "100", "98"],
    ]


def test_list_has_stable_keys(run: Run, suspend: Suspend) -> None:
    suspend("1")
    [row] = listed(run)
    assert list(row) == ["login", "account_id", "age", "daily_limit", "used"]
    assert (row["login"], row["account_id"], row["age"]) == ("demo@example.com", "1", pytest.approx(7200, abs=60))


def test_nobody(run: Run) -> None:
    result = run("suspensions", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nobody is suspended.\n")
    assert listed(run) == []


@pytest.mark.parametrize("name", ["DEMO@example.com", "1"])
def test_lift(run: Run, suspend: Suspend, name: str) -> None:
    suspend("1")
    suspend("2")
    result = run("suspensions", "lift", name)
    said = "demo@example.com (account 1) may send again: suspended 2h ago with 98 of 100 recipients."
    assert (result.exit_code, result.stdout.splitlines()) == (0, [said, ON_THIS_DAY])
    assert [row["account_id"] for row in listed(run)] == ["2"]
    again = run("suspensions", "lift", name)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.startswith("demo@example.com (account 1) is not suspended")


def test_lifting_is_kept(folder: Path, run: Run, suspend: Suspend) -> None:
    """It says for the rest of the day that the account is not to be suspended again."""
    suspend("1")
    run("suspensions", "lift", "1")
    with opened(load(folder / "gateway.toml", {}).store.url.get_secret_value(), write=False) as connection:
        assert connection.execute(select(suspension.c.account_id).where(suspension.c.lifted.is_not(None))).scalars().all() == [
            "1"
        ]


def test_a_suspension_of_an_earlier_day(run: Run, suspend: Suspend) -> None:
    suspend("1", ago=2)
    assert ON_THIS_DAY not in run("suspensions", "lift", "1").stdout


def test_of_an_account_that_is_gone(run: Run, suspend: Suspend) -> None:
    suspend("gone")
    assert run("suspensions", "lift", "gone").stdout.startswith("account gone may send again: ")


@pytest.mark.parametrize("name", ["nobody@example.com", "2", "a\nb", "x" * 5000, "\0"])
def test_not_found(run: Run, suspend: Suspend, name: str) -> None:
    suspend("1")
    result = run("suspensions", "lift", name)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "bug" not in result.stderr
    assert len(listed(run)) == 1


def test_the_login_table_away(folder: Path, run: Run, suspend: Suspend) -> None:
    suspend("1")
    (folder / "var/accounts.db").unlink()
    result = run("suspensions", "list", "--json")
    assert [(row["login"], row["account_id"]) for row in json.loads(result.stdout)] == [(None, "1")]
    assert result.stderr.startswith("Logins are not shown: ")
    assert run("suspensions", "lift", "demo@example.com").exit_code == 1
    assert run("suspensions", "lift", "1").stdout.startswith("account 1 may send again: ")


def test_the_url_of_the_login_table_not_at_hand(run: Run, suspend: Suspend, settings: Settings) -> None:
    """As under systemd, which gives it to the server only."""
    suspend("1")
    settings('url = "sqlite:///var/accounts.db"', 'url_file = "${CREDENTIALS_DIRECTORY}/accounts-url"')
    result = run("suspensions", "list")
    assert (result.exit_code, len(result.stdout.splitlines()), len(result.stderr.splitlines())) == (0, 2, 1)
    assert run("suspensions", "lift", "1").exit_code == 0
