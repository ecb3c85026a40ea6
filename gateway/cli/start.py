"""`init`: everything a first start needs, made where it is missing and left alone where it is there."""

import os
from pathlib import Path

import click

from gateway import config
from gateway.cli import demo_table
from gateway.cli.settings import Settings, pass_settings
from gateway.store.migrate import migrate


@click.command()
@pass_settings
def init(settings: Settings) -> None:
    """Write commented settings, a demo login table and the store.

    What exists is kept as it is, so this can be run again. The demo account's password goes to `demo-password` in the
    state directory, which `make run` shows.
    """
    _settings_file(settings.path)
    settings.config.server.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _login_table(settings)
    migrate(settings.store_url)
    click.echo("The store is up to date.")


def demo_password_file(settings: Settings) -> Path:
    return settings.config.server.state_dir / "demo-password"


def forget_demo_password(settings: Settings, login: str) -> None:
    """Remove the kept password of the demo account once it is no longer the right one."""
    if login.lower() == demo_table.DEMO_LOGIN:
        demo_password_file(settings).unlink(missing_ok=True)


def _settings_file(path: Path) -> None:
    if path.exists():
        click.echo(f"{path}: kept.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(config.SAMPLE)
    click.echo(f"{path}: written; it says what each setting does.")


def _login_table(settings: Settings) -> None:
    path = demo_table.file_of(settings.accounts_url)
    if path is None or path.exists():
        click.echo("The login table is kept as it is.")
        return
    password = demo_table.random_password()
    _write_private(demo_password_file(settings), password + "\n")  # first: an account with a lost password is of no use
    demo_table.create(settings.accounts_url, demo_table.DEMO_LOGIN, password)
    click.echo(f"{path}: a login table with the account {demo_table.DEMO_LOGIN}.")
    click.echo(f"Its password is in {demo_password_file(settings)}.")


def _write_private(path: Path, content: str) -> None:
    """Write a file that nobody else can read, not even while it is being written."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
