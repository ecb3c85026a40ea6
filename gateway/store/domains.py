"""Which domains are an account's. Implements `gateway.accounts.ports.Domains`; and what operators do to them.

A domain has one account. The functions on a connection are each part of one short transaction, safe beside a running server.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import IntegrityError

from gateway import address, maillog
from gateway.errors import Conflict, NotFound
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.failures import none_if_no_such_text
from gateway.store.schema import credential, domain
from gateway.store.shared_read import SharedRead

_OWNERS = select(domain.c.name, domain.c.account_id).where(domain.c.name.in_(bindparam("names", expanding=True)))
_LISTING = (
    select(domain.c.name, domain.c.account_id, (now() - domain.c.added).label("age"))
    .add_columns(func.count(credential.c.id).label("credentials"))
    .outerjoin_from(domain, credential)
    .group_by(domain.c.name)
    .order_by(domain.c.name)
)


class SqlDomains:
    """The domains in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: SharedRead[str, str | None] = database.shared(none_if_no_such_text(_owners_of))

    async def belongs(self, domain: str, account_id: str) -> bool:
        """See the port."""
        return await self._owners.ask(domain) == account_id


def _owners(connection: Connection, names: Collection[str]) -> dict[str, str]:
    return {row.name: row.account_id for row in connection.execute(_OWNERS, {"names": sorted(names)})}


def _owners_of(connection: Connection, names: Collection[str]) -> dict[str, str | None]:
    return dict.fromkeys(names) | _owners(connection, names)


class Taken(Conflict):
    """The domain `name` is another account's: that of the id `owner`."""

    def __init__(self, name: str, owner: str, login: str = "") -> None:
        whose = f"{login} (account {owner})" if login else f"account {owner}"
        super().__init__(f"{name}: belongs to {whose}; `smtp-gateway domains remove {name}` comes first")
        self.owner = owner


def no_such(name: str) -> NotFound:
    return NotFound(f"{name}: no account has this domain; `smtp-gateway domains list` shows those there are")


@dataclass(frozen=True, slots=True)
class ListedDomain:
    """`age` in seconds since it was added; `credentials` is how many it has."""

    name: str
    account_id: str
    age: float
    credentials: int


def domain_named(text: str) -> str:
    """`text` as `Address.domain_key`. Raises Conflict for what is no domain, a literal, or a name of one label."""
    shown = maillog.peer_text(text, 80)
    if "@" in text:
        raise Conflict(f"{shown}: has an @, and no domain has one; write it like example.com")
    try:
        read = address.parse(f"x@{text}")
    except address.AddressError as error:
        raise Conflict(f"{shown}: cannot be read as a domain ({error}); write it like example.com") from None
    if read.domain.startswith("["):
        raise Conflict(f"{shown}: an address is no domain")
    if "." not in read.domain:
        raise Conflict(f"{shown}: not a whole domain; write it like example.com")
    return read.domain_key


def add(connection: Connection, name: str, account_id: str) -> bool:
    """Make the domain this account's; False when it was already. Raises Taken when it is another's, Conflict for no domain."""
    name = domain_named(name)
    try:
        with connection.begin_nested():
            connection.execute(domain.insert().values(name=name, account_id=account_id, added=now()))
    except IntegrityError:  # it is there, perhaps since a moment ago
        other = owner(connection, name)
        if other is None:  # and was removed since
            return add(connection, name, account_id)
        if other != account_id:
            raise Taken(name, other) from None
        return False
    return True


def listing(connection: Connection, account_id: str = "") -> list[ListedDomain]:
    """The domains by name, of one account or of all."""
    query = _LISTING.where(domain.c.account_id == account_id) if account_id else _LISTING
    return [ListedDomain(**row._mapping) for row in connection.execute(query)]


def remove(connection: Connection, name: str) -> int:
    """Take the domain from its account, with its credentials: how many they were. Raises NotFound, Conflict (no domain)."""
    name = domain_named(name)
    if hold(connection, name) is None:
        raise no_such(name)
    credentials = connection.execute(credential.delete().where(credential.c.domain == name)).rowcount
    connection.execute(domain.delete().where(domain.c.name == name))
    return credentials


def owner(connection: Connection, name: str) -> str | None:
    """The account of the domain `name` (`Address.domain_key`), None when there is no such domain."""
    return _owners(connection, {name}).get(name)


def hold(connection: Connection, name: str) -> str | None:
    """The domain's account, None when there is no such domain; nobody else changes what it has until this transaction ends."""
    held = select(domain.c.account_id).where(domain.c.name == name).with_for_update()  # SQLite's has the whole store anyway
    return connection.execute(held).scalar()
