"""`config check` and `config show`: whether the settings can be used, and what they come to."""

import click

from gateway import config
from gateway.cli.settings import Settings, pass_settings
from gateway.store.engine import accounts_engine


@click.group("config")
def configuration() -> None:
    """Check or show the settings."""


@configuration.command()
@pass_settings
def check(settings: Settings) -> None:
    """Read the settings and name every mistake, with what would be right.

    Nothing is opened or connected to: `smtp-gateway doctor` does that.
    """
    for line in settings.config.warnings:
        click.echo(f"warning {line}", err=True)
    # Connects to nothing, and knows whether there is such a kind of database, with a driver
    accounts_engine(settings.accounts_url, connections=1).dispose()
    click.echo(f"{settings.path}: no mistakes")


@configuration.command()
@pass_settings
def show(settings: Settings) -> None:
    """Print all settings in effect, with secrets masked."""
    click.echo(config.show(settings.config), nl=False)
