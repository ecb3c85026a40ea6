"""Which account an operator means, and by which login people know it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import click
from sqlalchemy import Connection

from gateway.accounts.model import LoginRow
from gateway.cli.listing import cut
from gateway.cli.login_table import TableHere, login_table
from gateway.cli.settings import Settings
from gateway.cli.waiting import result_of
from gateway.errors import ConfigError, NotFound, Unavailable
from gateway.store import credentials
from gateway.store.engine import opened
from gateway.store.lookup import Found
from gateway.store.operator import list_recipients
from gateway.store.standing import usual
from gateway.store.suspensions import active
from gateway.store.usage import KEEP_DAYS, usage_of

Logins = Callable[[Collection[str]], Mapping[str, str | None]]  # of accounts by their ids; None for one that is gone


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """`row` is None when no account of the login table has this id, or the table could not be asked."""

    id: str
    row: LoginRow | None = None
    credential: str = ""  # the SMTP user by whose name the account was found

    @property
    def login(self) -> str | None:
        return self.row.login if self.row is not None else None

    def __str__(self) -> str:
        return f"{self.login} (account {self.id})" if self.login else f"account {self.id}"


def account_named(settings: Settings, name: str) -> NamedAccount:
    """The account with this login, or to which the SMTP user of this name belongs, or with this id: the first there is.

    What the store alone can tell does while the login table is away: an SMTP user's name, or an id with usage, a suspension
    or mail in the queue.
    Raises NotFound, Unavailable.
    """
    with opened(settings.store_url, write=False) as connection:
        user = credentials.find(connection, name)
        in_store = user is not None or _is_in_store(connection, name)
    account_id = user.account_id if user is not None else name
    row = None
    try:
        with login_table(settings) as table:
            row = result_of(table.find(name))
            if row is not None:
                return NamedAccount(row.id, row)
            row = result_of(table.by_id(account_id))
    except (Unavailable, ConfigError) as error:
        if not in_store:
            raise
        _say_without_logins(error)
    if row is None and not in_store:
        raise NotFound(f"{cut(name, 80)}: no account has this login or id, and no SMTP user this name")
    return NamedAccount(account_id, row, user.name if user is not None else "")


def account_of(settings: Settings, login: str) -> LoginRow:
    """The account that signs in as `login`. Raises NotFound, Unavailable."""
    row = find_login(settings, login)
    if row is None:
        raise NotFound(f"no account has the login {cut(login, 80)}")
    return row


def find_login(settings: Settings, login: str) -> LoginRow | None:
    """Raises Unavailable."""
    with login_table(settings) as table:
        return result_of(table.find(login))


@contextmanager
def logins(settings: Settings) -> Iterator[Logins]:
    """Each account is asked about once, however often it comes. Raises ConfigError; what it yields, Unavailable."""
    known: dict[str, str | None] = {}
    with login_table(settings) as table:

        def look_up(ids: Collection[str]) -> Mapping[str, str | None]:
            known.update(_logins(table, [each for each in ids if each not in known]))
            return known

        yield look_up


def known_logins(settings: Settings, ids: Iterable[str]) -> Mapping[str, str | None]:
    """For a listing, which does without them when the login table cannot be asked, and says so."""
    wanted = set(ids)
    if not wanted:
        return {}
    try:
        with logins(settings) as look_up:
            return look_up(wanted)
    except (Unavailable, ConfigError) as error:
        _say_without_logins(error)
        return {}


def names_taken(settings: Settings, names: Iterable[str]) -> Collection[str] | None:
    """Those of `names` that are logins of the table; None when it cannot be asked."""
    try:
        with login_table(settings) as table:
            return table.taken(set(names))
    except (Unavailable, ConfigError):
        return None


def _logins(table: TableHere, ids: list[str]) -> dict[str, str | None]:
    return {id_: _login(found) for id_, found in table.rows(ids).items()} if ids else {}


def _login(found: Found) -> str | None:
    """None, too, for an account whose row cannot be read."""
    row = usual(found) if isinstance(found, list) else None
    return row.login if row is not None else None


def _is_in_store(connection: Connection, account_id: str) -> bool:
    if any(each.account_id == account_id for each in active(connection)) or usage_of(connection, account_id, KEEP_DAYS):
        return True
    return bool(list_recipients(connection, account=account_id, limit=1))


def _say_without_logins(error: Exception) -> None:
    click.echo(f"Logins are not shown: {cut(str(error), 400)}", err=True)
