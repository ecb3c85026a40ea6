"""What a sign-in asks for, answered in this thread: the login table, and the SMTP users of domains in the store."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from gateway.accounts.logins import Logins
from gateway.accounts.model import Credential, LoginRow
from gateway.cli.settings import Settings
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.store import credentials
from gateway.store.engine import accounts_engine, opened
from gateway.store.failures import translated
from gateway.store.login_table import can_be_login
from gateway.store.lookup import Found, Lookup, only
from gateway.store.standing import Standing, usual


class TableHere:
    """The login table. Implements what of accounts.ports.Directory and AccountRows a sign-in needs."""

    def __init__(self, accounts: Accounts, engine: Engine) -> None:
        self._accounts = accounts
        self._lookup = Lookup(accounts, engine.dialect.name)
        self._standing = Standing(self._lookup.table)
        self._engine = engine

    async def find(self, login: str) -> LoginRow | None:
        """See the port."""
        if not can_be_login(login):
            return None
        with _login_table_errors(), self._engine.connect() as connection:
            found = self._lookup.find(connection, [login])[login]
            if isinstance(found, list) and len(found) > 1:
                raise Unavailable(f"two accounts differ in letter case only: ids {', '.join(row.id for row in found)}")
            return only(found)

    def taken(self, names: Collection[str]) -> set[str]:
        """Those of `names` that are logins, whether they can sign in or not. Raises Unavailable."""
        asked = [name for name in names if can_be_login(name)]
        with _login_table_errors(), self._engine.connect() as connection:
            return {name for name, found in self._lookup.find(connection, asked).items() if isinstance(found, list) and found}

    @property
    def case_sensitive(self) -> bool:
        return self._accounts.case_sensitive

    def key(self, login: str) -> str:
        return self._lookup.table.key(login)

    async def aliases(self, account_id: str) -> frozenset[str]:
        return frozenset()

    async def by_id(self, account_id: str) -> LoginRow | None:
        """See the port."""
        found = self.rows([account_id])[account_id]
        with _login_table_errors():
            return usual(found)

    def rows(self, ids: Collection[str]) -> dict[str, Found]:
        """For each of the accounts `ids` its rows, or why they cannot be read. Raises Unavailable."""
        with _login_table_errors(), self._engine.connect() as connection:
            return self._standing.rows(connection, list(ids))


class BookHere:
    """The SMTP users. Implements accounts.ports.CredentialBook, and notes no use."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url

    async def find(self, name: str) -> Credential | None:
        """See the port."""
        with opened(self._store_url, write=False) as connection:
            return credentials.find(connection, name)

    def used(self, credential: Credential, network: str) -> None:
        return None


@contextmanager
def login_table(settings: Settings) -> Iterator[TableHere]:
    """The product's login table. Raises ConfigError."""
    engine = accounts_engine(settings.accounts_url, connections=1)
    try:
        yield TableHere(settings.with_accounts.accounts, engine)
    finally:
        engine.dispose()


def directory(settings: Settings, table: TableHere) -> Logins:
    """Who signs in, as the server finds it."""
    return Logins(table, table, BookHere(settings.store_url))


@contextmanager
def _login_table_errors() -> Iterator[None]:
    """Says which database it was: a command may use both."""
    try:
        with translated():
            yield
    except Unavailable as error:
        raise Unavailable(f"login table: {error}") from None
