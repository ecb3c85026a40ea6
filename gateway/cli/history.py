"""`login history`: from where an account was tried of late, with which result, and who still has an old password."""

from dataclasses import asdict

import click

from gateway.cli.listing import age, json_option, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.cli.subjects import subject_named
from gateway.store.engine import opened
from gateway.store.sign_ins import OTHERS, Line, recent

_STALE = "stale"


@click.command()
@click.argument("login")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many lines.")
@json_option
@pass_settings
def history(settings: Settings, login: str, limit: int, as_json: bool) -> None:
    """Show who tried to sign in as LOGIN in the last 30 days.

    LOGIN is an account's login, or the name of a domain's SMTP user.

    A line for each network and result. Result stale: a password that was right before it was changed, so some phone or
    program there still uses it.
    """
    subject = subject_named(settings, login)
    with opened(settings.store_url, write=False) as connection:
        lines = recent(connection, subject, limit)
    print_rows([asdict(line) if as_json else _row(line) for line in lines], as_json=as_json, empty="No attempts in 30 days.")
    stale = [line.network or "other networks" for line in lines if line.result == _STALE]
    if stale and not as_json:
        click.echo(f"\nAn old password is still used from: {', '.join(dict.fromkeys(stale))}")


def _row(line: Line) -> dict[str, object]:
    return {
        "network": line.network if line.network != OTHERS else "others",
        "mechanism": line.mechanism,
        "result": line.result,
        "count": line.count,
        "first": f"{age(max(0.0, line.first))} ago",
        "last": f"{age(max(0.0, line.last))} ago",
    }
