"""`login test`: what a client would get for a login and password, and why, by the road that the server takes."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from sqlalchemy import Engine

from gateway.accounts import schemes
from gateway.accounts.authenticator import reply_for
from gateway.accounts.decision import Result, Verdict, check, find, plausible, undecided
from gateway.accounts.model import Credentials, LoginRow
from gateway.accounts.schemes import UnknownScheme
from gateway.cli.accounts import asked_password, password_stdin
from gateway.cli.settings import Settings, pass_settings
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated
from gateway.store.login_table import can_be_login
from gateway.store.lookup import Lookup, only

T = TypeVar("T")


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

    Says which reply a mail program would get, and why. Exit status 0 when it could sign in, 1 when not.
    """
    accounts = settings.config.accounts
    engine = accounts_engine(settings.accounts_url, connections=1)
    password = asked_password(from_stdin=password_stdin, twice=False)
    credentials = Credentials(login, password.encode("utf-8"), "PLAIN")
    hasher = HashHere(accounts.pepper.get_secret_value().encode("utf-8"))
    ceiling = settings.config.limits.message_size
    verdict = result_of(_decide(credentials, TableHere(accounts, engine), hasher, ceiling))
    engine.dispose()
    reply = reply_for(verdict)
    click.echo(f"Reply: {reply.code} {reply.enhanced} {reply.text}")
    click.echo(f"Why: {_why(verdict, credentials, accounts)}")
    context.exit(0 if verdict.result is Result.OK else 1)


async def _decide(credentials: Credentials, directory: "TableHere", hasher: "HashHere", ceiling: int) -> Verdict:
    """As the server does it for a password that it has not seen, lockout set aside."""
    row = None
    try:
        row = await find(credentials, directory)
        return await check(credentials, row, directory, hasher, ceiling=ceiling)
    except (Unavailable, UnknownScheme) as error:
        return undecided(error, row)


class TableHere:
    """The login table, asked in this thread. Implements what of accounts.ports.Directory a sign-in needs."""

    def __init__(self, accounts: Accounts, engine: Engine) -> None:
        self._accounts = accounts
        self._lookup = Lookup(accounts, engine.dialect.name)
        self._engine = engine

    async def find(self, login: str) -> LoginRow | None:
        if not can_be_login(login):
            return None
        with translated(), self._engine.connect() as connection:
            found = self._lookup.find(connection, [login])[login]
        if isinstance(found, list) and len(found) > 1:
            raise Unavailable(f"two accounts differ in letter case only: ids {', '.join(row.id for row in found)}")
        return only(found)

    @property
    def case_sensitive(self) -> bool:
        return self._accounts.case_sensitive

    def key(self, login: str) -> str:
        return self._lookup.table.key(login)

    async def aliases(self, account_id: str) -> frozenset[str]:
        return frozenset()


class HashHere:
    """Hashes in this thread, without a decoy: whoever runs this command knows which logins there are."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    slowest = 0.0  # nobody has to be kept from learning anything here

    async def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> bool:
        return schemes.verify(secret, stored, pepper=self._pepper)

    async def burn(self, secret: bytes, *, subject: str, network: str) -> None:
        return None


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """The value of a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits for something")


def _why(verdict: Verdict, credentials: Credentials, accounts: Accounts) -> str:
    row = verdict.row
    match verdict.result:
        case Result.OK if verdict.account:
            size = verdict.account.message_size
            return f"the password of account {verdict.account.id} is right; it may send messages of up to {size} octets"
        case Result.UNKNOWN if not plausible(credentials):
            return "no account can have this login: it is empty, longer than 254 octets or has control characters"
        case Result.UNKNOWN:
            return f'no row of "{accounts.table}" has this login in column "{accounts.columns.login}"'
        case Result.WRONG if row and not schemes.usable(row.stored):
            return f"account {row.id} has no password: its stored hash is empty or says that none fits"
        case Result.WRONG if row:
            return f"account {row.id} has another password{_disabled(row, accounts)}"
        case Result.DISABLED if row:
            return f"the password of account {row.id} is right{_disabled(row, accounts)}"
        case _:
            return f"the password could not be checked: {verdict.reason}"


def _disabled(row: LoginRow, accounts: Accounts) -> str:
    if not row.active and accounts.columns.active:
        return f', but it is disabled ("{accounts.columns.active}" in the settings)'
    return "" if row.smtp_enabled else f', but it may not use SMTP (column "{accounts.columns.smtp_enabled}")'
