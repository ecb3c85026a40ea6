"""`login test`: what a client would get for a login and password, and why, by the road that the server takes."""

import click

from gateway.accounts import schemes
from gateway.accounts.authenticator import reply_for
from gateway.accounts.decision import Result, Verdict, check, find, plausible, undecided
from gateway.accounts.model import Credentials, LoginRow
from gateway.accounts.ports import Directory
from gateway.accounts.schemes import UnknownScheme
from gateway.cli.accounts import asked_password, password_stdin
from gateway.cli.login_table import BookHere, directory, login_table
from gateway.cli.obstacles import obstacles
from gateway.cli.settings import Settings, pass_settings
from gateway.cli.waiting import result_of
from gateway.config import Accounts
from gateway.errors import Unavailable


@click.group()
def login() -> None:
    """Find out why somebody can or cannot sign in."""


@login.command()
@click.argument("login")
@password_stdin
@pass_settings
@click.pass_context
def test(context: click.Context, settings: Settings, login: str, password_stdin: bool) -> None:
    """Try LOGIN and its password as the server would.

    LOGIN is an account's login, or the name of a domain's SMTP user. Says which reply a mail program would get, and why; and
    whether a lockout holds that would get it another reply, or its account is suspended. Exit status 0 when the password is
    right and may be used, 1 when not.
    """
    accounts = settings.with_accounts.accounts
    ceiling = settings.own.limits.message_size
    hasher = HashHere(accounts.pepper.get_secret_value().encode("utf-8"))
    with login_table(settings) as table:
        password = asked_password(from_stdin=password_stdin, twice=False)
        credentials = Credentials(login, password.encode("utf-8"), "PLAIN")
        logins = directory(settings, table)
        verdict = result_of(_decide(credentials, logins, hasher, ceiling))
        further = list(obstacles(verdict, credentials, logins, settings))
    reply = reply_for(verdict)
    click.echo(f"Reply: {reply.code} {reply.enhanced} {reply.text}")
    click.echo(f"Why: {_why(verdict, credentials, settings)}")
    for line in further:
        click.echo(f"Also: {line}")
    context.exit(0 if verdict.result is Result.OK else 1)


async def _decide(credentials: Credentials, directory: Directory, hasher: "HashHere", ceiling: int) -> Verdict:
    """As the server does it for a password that it has not seen, lockout set aside."""
    row = None
    try:
        row = await find(credentials, directory)
        return await check(credentials, row, directory, hasher, ceiling=ceiling)
    except (Unavailable, UnknownScheme) as error:
        return undecided(error, row)


class HashHere:
    """Hashes in this thread, without a decoy: whoever runs this command knows which logins there are."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    slowest = 0.0  # nobody has to be kept from learning anything here

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        return schemes.verify(secret, stored, pepper=self._pepper)

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        return None


def _why(verdict: Verdict, credentials: Credentials, settings: Settings) -> str:
    row, accounts = verdict.row, settings.with_accounts.accounts
    match verdict.result:
        case Result.OK if row and verdict.account:
            scope = f" as {row.credential.domain}" if row.credential else ""
            size = verdict.account.message_size
            return f"the password of {_whose(row)} is right; it may send messages of up to {size} octets{scope}"
        case Result.UNKNOWN if not plausible(credentials):
            return "no account can have this login: it is empty, longer than 254 octets or has control characters"
        case Result.UNKNOWN:
            return _unknown(credentials.login, settings)
        case Result.WRONG if row and not schemes.usable(row.stored):
            return f"{_whose(row)} has no password: its stored hash is empty or says that none fits"
        case Result.WRONG if row:
            return f"{_whose(row)} has another password{_disabled(row, accounts)}"
        case Result.DISABLED if row:
            return f"the password of {_whose(row)} is right{_disabled(row, accounts)}"
        case _:
            return f"the password could not be checked: {verdict.reason}"


def _whose(row: LoginRow) -> str:
    return f"SMTP user {row.credential.name} of account {row.id}" if row.credential else f"account {row.id}"


def _unknown(login: str, settings: Settings) -> str:
    accounts = settings.with_accounts.accounts
    user = result_of(BookHere(settings.store_url).find(login))
    if user is not None:
        return f'SMTP user {user.name} belongs to account {user.account_id}, and no row of "{accounts.table}" has this id'
    return f'no row of "{accounts.table}" has this login in column "{accounts.columns.login}", and no SMTP user this name'


def _disabled(row: LoginRow, accounts: Accounts) -> str:
    if not row.active and accounts.columns.active:
        return f', but {"its account" if row.credential else "it"} is disabled ("{accounts.columns.active}" in the settings)'
    return "" if row.smtp_enabled else f', but it may not use SMTP (column "{accounts.columns.smtp_enabled}")'
