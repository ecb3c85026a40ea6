"""`accounts ...`: the embedded demo table, for trying the gateway out; a table of your own is refused."""

import sys
import warnings
from collections.abc import Callable
from getpass import GetPassWarning

import click

from gateway.accounts import schemes
from gateway.cli import demo_table
from gateway.cli.listing import json_option, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.cli.start import forget_demo_password
from gateway.config.units import format_size, parse_size

password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")


def asked_password(*, from_stdin: bool, twice: bool, check: Callable[[str], None] = lambda password: None) -> str:
    """The password, from standard input or typed unseen, of which `check` raises what is wrong with it. Raises UsageError.

    With `twice` it has to be typed again, once the first one has passed.
    """

    def checked(password: str) -> str:
        check(password)
        return password

    return checked(_from_stdin()) if from_stdin else _typed(checked, twice=twice)


def _from_stdin() -> str:
    try:
        line = sys.stdin.readline()
        line.encode("utf-8")  # where the locale takes any octets, they fail here
    except UnicodeError:
        raise click.UsageError("The password on standard input is not UTF-8 text.") from None
    if not line:
        raise click.UsageError("There is no password on standard input.")
    return line.rstrip("\r\n")


def _typed(checked: Callable[[str], str], *, twice: bool) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)  # getpass would read it where everybody sees it
        try:
            return str(click.prompt("Password", hide_input=True, confirmation_prompt=twice, value_proc=checked, err=True))
        except GetPassWarning:
            raise click.UsageError("There is no terminal here to type a password; use --password-stdin.") from None


def _size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    try:
        return parse_size(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def accounts() -> None:
    """Look after the accounts of the demo login table.

    For the table that `smtp-gateway init` makes, to try the gateway out. A login table of your own is only ever read.
    """


@accounts.command("list")
@json_option
@pass_settings
def list_accounts(settings: Settings, as_json: bool) -> None:
    """Show all accounts."""
    with demo_table.table(settings.accounts_url) as connection:
        rows = [
            {
                "id": str(account.id),
                "login": account.login,
                "active": account.active,
                "max_message_size": account.max_message_size,
                "daily_recipients": account.daily_recipients,
                "hash": schemes.scheme(account.stored),
            }
            for account in demo_table.accounts(connection)
        ]
    print_rows(rows, as_json=as_json, empty="No accounts.")


@accounts.command()
@click.argument("login")
@click.option(
    "--max-message-size", callback=_size, metavar="SIZE", help='Its own limit, as in "10MiB"; not above the general one.'
)
@click.option("--daily-recipients", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Its own daily limit; 0 for none.")
@password_stdin
@pass_settings
def add(
    settings: Settings, login: str, max_message_size: int | None, daily_recipients: int | None, password_stdin: bool
) -> None:
    """Add an account. LOGIN is its e-mail address."""
    with demo_table.table(settings.accounts_url):  # refuse a foreign table before asking for a password
        pass
    _refuse_above(settings.config.limits.message_size, max_message_size)
    password = asked_password(from_stdin=password_stdin, twice=True)
    with demo_table.table(settings.accounts_url) as connection:
        demo_table.add(connection, login, password, max_message_size=max_message_size, daily_recipients=daily_recipients)
    click.echo(f"{login}: added; it can sign in from now on.")
    columns = settings.config.accounts.columns
    _say_when_it_counts("max_message_size", max_message_size, columns.max_message_size)
    _say_when_it_counts("daily_recipients", daily_recipients, columns.daily_recipients)


def _say_when_it_counts(column: str, limit: int | None, configured: str) -> None:
    if limit is not None and not configured:
        setting = f'accounts.columns.{column} = "{column}"'
        click.echo(f"Its limit counts once the settings say {setting} and the server is restarted.", err=True)


def _refuse_above(ceiling: int, size: int | None) -> None:
    if size is not None and size > ceiling:
        raise click.BadParameter(
            f"is above limits.message_size, {format_size(ceiling)}; an account's own limit can only be lower",
            param_hint="'--max-message-size'",
        )


@accounts.command()
@click.argument("login")
@password_stdin
@pass_settings
def passwd(settings: Settings, login: str, password_stdin: bool) -> None:
    """Change the password of LOGIN. It counts at once, for open sessions too."""
    with demo_table.table(settings.accounts_url):
        pass
    password = asked_password(from_stdin=password_stdin, twice=True)
    with demo_table.table(settings.accounts_url) as connection:
        demo_table.set_password(connection, login, password)
    forget_demo_password(settings, login)
    click.echo(f"{login}: the new password counts from now on.")


@accounts.command()
@click.argument("login")
@pass_settings
def disable(settings: Settings, login: str) -> None:
    """Keep LOGIN from signing in, and end its sessions."""
    with demo_table.table(settings.accounts_url) as connection:
        demo_table.set_active(connection, login, active=False)
    click.echo(f"{login}: disabled.")


@accounts.command()
@click.argument("login")
@pass_settings
def enable(settings: Settings, login: str) -> None:
    """Let LOGIN sign in again."""
    with demo_table.table(settings.accounts_url) as connection:
        demo_table.set_active(connection, login, active=True)
    click.echo(f"{login}: enabled.")


@accounts.command()
@click.argument("login")
@pass_settings
def delete(settings: Settings, login: str) -> None:
    """Delete LOGIN. Mail it has sent stays in the queue."""
    with demo_table.table(settings.accounts_url) as connection:
        demo_table.delete(connection, login)
    forget_demo_password(settings, login)
    click.echo(f"{login}: deleted.")
