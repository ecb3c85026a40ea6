"""`usage ...`: what an account has sent, day by day, and a month of all accounts for billing."""

import re
from calendar import monthrange
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date

import click

from gateway.cli import billing
from gateway.cli.account_names import Logins, NamedAccount, account_named, logins
from gateway.cli.listing import age, json_option, print_json, print_table
from gateway.cli.settings import Settings, pass_settings
from gateway.errors import Unavailable
from gateway.queue.allowance import Standing
from gateway.store.engine import opened
from gateway.store.suspensions import active
from gateway.store.usage import KEEP_DAYS, UsageDay, standing_now, usage_of, usage_of_month

_EPOCH = date(1970, 1, 1)
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Month:
    """Its first and last day, as days since 1970."""

    first: int
    last: int


def _month(_context: click.Context, _option: click.Parameter, value: str) -> Month:
    written = _MONTH.fullmatch(value)
    try:
        first = date(int(written[1]), int(written[2]), 1) if written else None
    except ValueError:  # the year 0, or a month past 12
        first = None
    if first is None:
        raise click.BadParameter('is not a month; write it like "2026-11"')
    day = (first - _EPOCH).days
    return Month(day, day + monthrange(first.year, first.month)[1] - 1)


@click.group()
def usage() -> None:
    """See what accounts send.

    Counted are the messages taken, their recipients and their octets, for each account and day. A day begins at 00:00 UTC.
    """


@usage.command()
@click.argument("name", metavar="LOGIN")
@click.option("--days", type=click.IntRange(1, KEEP_DAYS), default=30, show_default=True, help="So many days back, with today.")
@json_option
@pass_settings
def show(settings: Settings, name: str, days: int, as_json: bool) -> None:
    """Show what an account sent, day by day.

    The latest day comes first; how the account stands today is said at the end. LOGIN is the account's login, its id (even
    when the account is gone), or the name of an SMTP user of one of its domains.

    The limit is that of the settings file, and the server has what it read at its start or the last SIGHUP. Refusals are
    written down every 5 seconds.
    """
    account = account_named(settings, name)
    with opened(settings.store_url, write=False) as connection:
        sent = usage_of(connection, account.id, days)
        standing = standing_now(connection, account.id)
        since = [each.age for each in active(connection) if each.account_id == account.id]
    limit = _limit(settings, account)
    if as_json:
        print_json(_exact(account, sent, standing, limit, since[0] if since else None))
        return
    click.echo(_whose(account))
    if sent:
        print_table([{"day": str(day.date), **billing.counts(day)} for day in sent])
    click.echo(_today(standing, limit))
    if since:
        click.echo(f"Suspended since {age(since[0])} ago; `smtp-gateway suspensions lift {account.id}` ends that.")


@usage.command()
@click.option("--month", callback=_month, required=True, metavar="YYYY-MM", help='The month, as in "2026-11".')
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True, help="What to write.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--totals", is_flag=True, help="One line an account, for the whole month.")
@click.option("--no-logins", is_flag=True, help="Leave the login empty, and do not ask the login table.")
@pass_settings
def export(settings: Settings, month: Month, form: str, as_json: bool, totals: bool, no_logins: bool) -> None:
    """Write a month of all accounts to standard output, for billing.

    A line for each account and day on which it sent something. The login is empty when the account is gone. CSV is for
    spreadsheets: a cell that they would take for a formula begins with an apostrophe. JSON is exact.
    """
    write = billing.write_json if as_json or form == "json" else billing.write_csv
    with ExitStack() as stack:
        look_up = None if no_logins else _or_without(stack.enter_context(logins(settings)))
        connection = stack.enter_context(opened(settings.store_url, write=False))
        days = usage_of_month(connection, month.first, month.last)
        rows = billing.totals(days) if totals else billing.lines(days)
        columns = billing.TOTALS if totals else billing.COLUMNS
        out = stack.enter_context(click.open_file("-", "w", encoding="utf-8"))
        write(billing.with_logins(rows, look_up), columns, out)


def _or_without(look_up: Logins) -> Logins:
    """Tells who meets a login table that is away what can be done."""

    def ask(ids: Collection[str]) -> Mapping[str, str | None]:
        try:
            return look_up(ids)
        except Unavailable as error:
            raise Unavailable(f"{error}; --no-logins does without it") from None

    return ask


def _whose(account: NamedAccount) -> str:
    """A heading."""
    found = f", to which the SMTP user {account.credential} belongs" if account.credential else ""
    whole = str(account)
    return f"{whole[0].upper()}{whole[1:]}{found}" if account.row is None else f"{whole}{found}"


def _limit(settings: Settings, account: NamedAccount) -> int | None:
    """In recipients a day, 0 for none; None when the account is gone or the login table away."""
    if account.row is None:
        return None
    own = account.row.daily_recipients
    return settings.own.limits.daily_recipients if own is None else own


def _today(standing: Standing, limit: int | None) -> str:
    if not limit:
        return f"Today: {standing.used} recipients{', no daily limit' if limit == 0 else ''}."
    return f"Today: {standing.used} of {limit} recipients; a new day begins in {age(standing.resets_in)}."


def _exact(
    account: NamedAccount, sent: list[UsageDay], standing: Standing, limit: int | None, suspended: float | None
) -> dict[str, object]:
    return {
        "account_id": account.id,
        "login": account.login,
        "credential": account.credential or None,
        "used": standing.used,
        "limit": limit,
        "resets_in": standing.resets_in,
        "suspended_for": suspended,
        "days": [{"day": str(day.date), **billing.counts(day)} for day in sent],
    }
