"""The root command: help for all, one line and a status for every failure, and no reactor."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gateway import __version__
from gateway.cli.command import Root, root
from gateway.cli.listing import age
from gateway.errors import ConfigError, Conflict, NotFound, Unavailable

Run = Callable[..., Result]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), list(commands(root)))
def test_every_command_has_help_without_any_settings(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(root, ["--config", "missing.toml", *path, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("path", [(), *(path for path, command in commands(root) if isinstance(command, click.Group))])
def test_no_summary_of_a_command_is_cut(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(root, [*path, "--help"], terminal_width=80).stdout.partition("Commands:")[2]
    assert shown
    assert "..." not in shown


LISTINGS = ("list", "show", "doctor", "history", "export")


def test_every_listing_has_json() -> None:
    listings = {" ".join(path): command for path, command in commands(root) if path[-1] in LISTINGS}
    assert set(listings) == {
        "config show",
        "doctor",
        "accounts list",
        "credentials list",
        "domains list",
        "lockouts list",
        "login history",
        "queue list",
        "queue show",
        "suspensions list",
        "usage export",
        "usage show",
    }
    for path, command in listings.items():
        assert path == "config show" or any("--json" in each.opts for each in command.params)


def test_version() -> None:
    assert CliRunner().invoke(root, ["--version"]).stdout == f"smtp-gateway {__version__}\n"


def test_config_from_the_environment(folder: Path) -> None:
    result = CliRunner().invoke(root, ["config", "check"], env={"SMTP_GATEWAY_CONFIG": str(folder / "gateway.toml")})
    assert result.exit_code == 0


def test_missing_settings(tmp_path: Path) -> None:
    result = CliRunner().invoke(root, ["--config", str(tmp_path / "x.toml"), "config", "check"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "smtp-gateway init" in result.stderr


def test_all_mistakes_at_once(run: Run, settings: Callable[..., None]) -> None:
    settings("recipients = 100", "recipients = 0\nnonsense = 1")
    result = run("config", "check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [("nonsense://h/x", "accounts.url: nonsense is no database we know"), ("sqlite:///gone.db", "gateway.toml: no mistakes")],
)
def test_a_kind_of_database(run: Run, settings: Callable[..., None], url: str, said: str) -> None:
    settings("sqlite:///var/accounts.db", url)
    result = run("config", "check")
    assert said in result.output
    assert result.exit_code == (0 if "no mistakes" in said else 2)


def test_config_show_is_what_can_be_read_back(folder: Path, run: Run) -> None:
    shown = run("config", "show")
    assert shown.exit_code == 0
    (folder / "gateway.toml").write_text(shown.stdout, "utf-8")
    assert run("config", "show").stdout == shown.stdout


def test_store_migrate(folder: Path, run: Run) -> None:
    (folder / "var/gateway.db").unlink()
    assert run("store", "migrate").exit_code == 0
    assert run("queue", "list").exit_code == 0
    assert run("store", "migrate").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("store", "migrate"),
        ("queue", "list"),
        ("lockouts", "list"),
        ("lockouts", "clear", "192.0.2.1"),
        ("suspensions", "list"),
        ("domains", "list"),
        ("domains", "remove", "none.example"),
        ("credentials", "list"),
        ("credentials", "delete", "clear@none.example"),
        ("usage", "export", "--month", "2026-11", "--no-logins"),
    ],
)
def test_the_store_can_be_looked_after_without_the_secrets_of_others(
    run: Run, settings: Callable[..., None], arguments: tuple[str, ...]
) -> None:
    settings('url = "sqlite:///var/accounts.db"', 'url_file = "${CREDENTIALS_DIRECTORY}/accounts-url"')
    settings("maildir:var/mail", "smtp://u@smart.example?password_file=${CREDENTIALS_DIRECTORY}/password")
    assert run("config", "check").exit_code == 2
    result = run(*arguments)
    assert "CREDENTIALS_DIRECTORY" not in result.output
    assert result.exit_code == (1 if {"clear", "remove", "delete"} & {*arguments} else 0)  # 1: nothing there


@pytest.mark.parametrize(
    "arguments",
    [
        ("login", "history", "demo@example.com"),
        ("login", "test", "demo@example.com", "--password-stdin"),
        ("lockouts", "clear", "demo@example.com"),
        ("usage", "show", "demo@example.com"),
        ("usage", "export", "--month", "2026-11"),
        ("suspensions", "lift", "demo@example.com"),
        ("domains", "add", "shop.example", "demo@example.com"),
        ("credentials", "create", "till@shop.example"),
    ],
)
def test_accounts_can_be_looked_after_without_the_secrets_of_next_hops(
    run: Run, settings: Callable[..., None], arguments: tuple[str, ...]
) -> None:
    settings("maildir:var/mail", "smtp://u@smart.example?password_file=${CREDENTIALS_DIRECTORY}/password")
    result = run(*arguments, stdin="wrong\n")
    assert "CREDENTIALS_DIRECTORY" not in result.output
    assert result.exit_code in (0, 1)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NotFound("no such thing"), 1, "no such thing"),
        (Unavailable("the disk is away"), 1, "the disk is away"),
        (Conflict("there is one"), 1, "there is one"),
        (NotFound("a\nb\x1b[2J\0\udcff"), 1, "a?b?[2J??"),
        (NotFound("x" * 5000), 1, "x" * 497 + "..."),
        (ConfigError(["a: wrong", "b: wrong"]), 2, "a: wrong\nb: wrong"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
    ],
)
def test_failures(error: Exception, code: int, line: str) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", line + "\n")


def test_a_bug_says_where_but_quotes_nothing() -> None:
    result = CliRunner().invoke(failing(ValueError("hunter2")), ["fail"])
    assert result.exit_code == 1
    assert "ValueError at " in result.stderr
    assert __file__ in result.stderr
    assert "hunter2" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def failing(error: Exception) -> click.Group:
    group = Root("test")

    @group.command()
    def fail() -> None:
        raise error

    return group


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_every_terminal_can_show_every_login(run: Run, folder: Path, encoding: str) -> None:
    assert run("accounts", "add", "zoë☃@example.com", "--password-stdin", stdin="long enough\n").exit_code == 0
    program = "from gateway.cli.command import main; main()"
    command = [sys.executable, "-c", program, "--config", str(folder / "gateway.toml"), "accounts", "list"]

    def said(*options: str) -> str:
        there = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([*command, *options], env=there, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode("utf-8" if encoding == "ascii" else encoding)  # click takes ASCII for a mistake

    assert ("\\u2603" if encoding == "latin-1" else "☃") in said()
    assert "zoë☃@example.com" in [account["login"] for account in json.loads(said("--json"))]


def test_no_reactor_is_imported() -> None:
    program = "import sys, gateway.cli; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (119, "119s"), (121, "2m"), (7100, "118m"), (7300, "2h"), (259100, "72h"), (864000, "10d")],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text
