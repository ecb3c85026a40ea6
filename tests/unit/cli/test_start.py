"""`init`."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from gateway.config import SAMPLE, load
from gateway.store.migrate import check_schema

Run = Callable[..., Result]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_writes_what_a_first_start_needs(folder: Path, run: Run) -> None:
    assert (folder / "gateway.toml").read_text("utf-8") == SAMPLE
    password = (folder / "var/demo-password").read_text("utf-8").rstrip("\n")
    assert len(password) == 16
    assert password.isalnum()
    check_schema(load(folder / "gateway.toml", {}).store.url.get_secret_value())
    assert run("login", "test", "demo@example.com", "--password-stdin", stdin=password).exit_code == 0


def test_nobody_else_can_read_it(folder: Path) -> None:
    assert mode(folder / "var/demo-password") == 0o600
    assert mode(folder / "var/accounts.db") == 0o600
    assert mode(folder / "var/gateway.db") == 0o600


def test_keeps_what_exists(folder: Path, run: Run, settings: Callable[..., None]) -> None:
    settings("recipients = 100", "recipients = 99")
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = run("init")
    assert result.exit_code == 0
    assert "kept" in result.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept


def test_makes_again_what_is_missing(folder: Path, run: Run) -> None:
    old = (folder / "var/demo-password").read_text("utf-8")
    (folder / "var/accounts.db").unlink()
    assert run("init").exit_code == 0
    new = (folder / "var/demo-password").read_text("utf-8")
    assert new != old
    assert run("login", "test", "demo@example.com", "--password-stdin", stdin=new).exit_code == 0


@pytest.mark.parametrize("url", ["postgresql://app@db.invalid/app", "sqlite:///own.db"])
def test_leaves_a_table_of_ones_own_alone(folder: Path, run: Run, settings: Callable[..., None], url: str) -> None:
    (folder / "own.db").write_bytes(b"not ours")
    settings("sqlite:///var/accounts.db", url)
    assert run("init").exit_code == 0
    assert (folder / "own.db").read_bytes() == b"not ours"


def test_wrong_settings_are_named(folder: Path, run: Run, settings: Callable[..., None]) -> None:
    settings("port = 2587", "port = 70000")
    result = run("init")
    assert result.exit_code == 2
    assert "listen.1.port" in result.stderr
