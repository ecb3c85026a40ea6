"""`store ...`: brings the gateway's own database to what this version needs, and moves it to PostgreSQL."""

import click

from gateway.cli.settings import Settings, pass_settings
from gateway.store.copying import CopyRefused, copy_store
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


@store.command()
@click.argument("to_url", metavar="TO-URL")
@pass_settings
def copy(settings: Settings, to_url: str) -> None:
    """Copy the SQLite store into an empty PostgreSQL database.

    Large bodies of the spool go with it; all or nothing. Stop the gateway first; afterwards set [store] url to TO-URL, and
    [server] secret. A password in TO-URL can be seen by others on this machine, one in ~/.pgpass or PGPASSWORD cannot.
    """
    try:
        copy_store(settings.store_url, to_url, settings.own.server.state_dir, lambda name, rows: click.echo(f"{name}: {rows}"))
    except CopyRefused as refused:
        raise click.ClickException(str(refused)) from None
    click.echo("Copied. Set [store] url to the new store and [server] secret, then start the gateway.")
