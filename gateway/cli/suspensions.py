"""`suspensions ...`: which accounts may not send since they went over their daily limit, and an operator's pardon."""

import click

from gateway.cli.account_names import account_named, known_logins
from gateway.cli.listing import age, json_option, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.errors import NotFound
from gateway.store import suspensions as book
from gateway.store.engine import opened
from gateway.store.suspensions import Suspension
from gateway.store.usage import standing_now


@click.group()
def suspensions() -> None:
    """See who is suspended, and let them send again.

    With on_daily_limit = "suspend" in [limits], an account that goes over its daily limit sends nothing more until it is
    let go here.
    """


@suspensions.command("list")
@json_option
@pass_settings
def list_suspensions(settings: Settings, as_json: bool) -> None:
    """Show the accounts that are suspended now."""
    with opened(settings.store_url, write=False) as connection:
        found = book.active(connection)
    logins = known_logins(settings, [each.account_id for each in found])
    row = _exact if as_json else _line
    rows = [row(each, logins.get(each.account_id)) for each in found]
    print_rows(rows, as_json=as_json, empty="Nobody is suspended.")


@suspensions.command()
@click.argument("name", metavar="LOGIN")
@pass_settings
def lift(settings: Settings, name: str) -> None:
    """Let an account send again. LOGIN is its login or its id."""
    account = account_named(settings, name)
    with opened(settings.store_url, write=True) as connection:
        try:
            lifted = book.lift(connection, account.id)
        except NotFound:
            raise NotFound(f"{account} is not suspended; `smtp-gateway suspensions list` shows who is") from None
        today = standing_now(connection, account.id).day
    click.echo(
        f"{account} may send again: suspended {age(lifted.age)} ago with {lifted.used} of {lifted.daily_limit} recipients."
    )
    if lifted.day == today:
        click.echo("Until 00:00 UTC, what is over its limit is deferred, unless it gets a higher one.")


def _exact(suspension: Suspension, login: str | None) -> dict[str, object]:
    return {
        "login": login,
        "account_id": suspension.account_id,
        "age": suspension.age,
        "daily_limit": suspension.daily_limit,
        "used": suspension.used,
    }


def _line(suspension: Suspension, login: str | None) -> dict[str, object]:
    return {
        "login": login,
        "account": suspension.account_id,
        "since": f"{age(suspension.age)} ago",
        "limit": suspension.daily_limit,
        "used": suspension.used,
    }
