"""`store migrate`: brings the gateway's own database to what this version needs."""

import click

from gateway.cli.settings import Settings, pass_settings
from gateway.store.migrate import migrate as migrate_store


@click.group()
def store() -> None:
    """Look after the gateway's own database (queue and all)."""


@store.command()
@pass_settings
def migrate(settings: Settings) -> None:
    """Make the database, or bring it to what this version needs.

    Run it after each upgrade, while the server is stopped; running it twice does no harm.
    """
    migrate_store(settings.store_url)
    click.echo("The store is up to date.")
