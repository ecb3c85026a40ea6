"""`config check` and `config show`: whether the settings can be used, and what they come to."""

import click

from gateway import config
from gateway.cli.settings import Settings, pass_settings


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
    click.echo(f"{settings.path}: no mistakes")


@configuration.command()
@pass_settings
def show(settings: Settings) -> None:
    """Print all settings in effect, with secrets masked."""
    click.echo(config.show(settings.config), nl=False)
