"""The SMTP users of domains. Implements `gateway.accounts.ports.CredentialBook`; and what operators do to them.

Theory of operation. Those who look a credential up share reads. When and from where one was used last is kept in memory and
written down every few seconds, since a write for each sign-in would cost more than the sign-in; a crash loses some seconds.

A domain has at most five: each has a slot of its own, from 1 to 5, and no two of a domain may have the same. Who creates one
holds the domain's row, so that two who come at once are told what they would be told one after the other.

The functions on a connection are each part of one short transaction, safe beside a running server.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select
from twisted.internet.defer import Deferred

from gateway import address, maillog
from gateway.accounts.credentials import RANDOM_PREFIX
from gateway.accounts.model import Credential
from gateway.errors import Conflict, NotFound, Unavailable
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.domains import domain_named, hold, no_such, owner
from gateway.store.failures import none_if_no_such_text
from gateway.store.schema import credential, domain
from gateway.store.shared_read import SharedRead

SLOTS = range(1, 6)  # of a domain, as the table checks
MAX_WAITING = 20_000  # credentials used whose use is not written down yet; while the store is away, more are not kept
_STEP = 500  # in one transaction

_ALL = select(credential.c.id, credential.c.name, credential.c.domain, domain.c.account_id, credential.c.stored).join_from(
    credential, domain
)
_BY_NAME = _ALL.where(credential.c.name.in_(bindparam("names", expanding=True)))
_CHOSEN = select(credential.c.stored).where(~credential.c.stored.startswith(RANDOM_PREFIX))
_LISTING = (
    select(
        credential.c.id,
        credential.c.name,
        credential.c.domain,
        domain.c.account_id,
        (now() - credential.c.changed).label("age"),
    )
    .add_columns((now() - credential.c.last_used).label("last_used"), credential.c.last_network)
    .join_from(credential, domain)
    .order_by(credential.c.domain, credential.c.name)
)
_USED = (
    credential.update()
    .where(credential.c.id == bindparam("b_id"))
    .where(or_(credential.c.last_used.is_(None), credential.c.last_used < bindparam("b_at")))
    .values(last_used=bindparam("b_at"), last_network=bindparam("b_network"))
)
_SLOTS_TAKEN = select(credential.c.slot).where(credential.c.domain == bindparam("domain"))
_CREATE = credential.insert().values(changed=now(), last_network="").returning(credential.c.id)
_RESET = credential.update().where(credential.c.name == bindparam("b_name")).values(stored=bindparam("b_stored"), changed=now())


@dataclass(frozen=True, slots=True)
class _Use:
    at: float
    network: str


class SqlCredentials:
    """The credentials in `database`. `clock` gives the store's time, in seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._found: SharedRead[str, Credential | None] = database.shared(none_if_no_such_text(_named))
        self._waiting: dict[int, _Use] = {}

    async def find(self, name: str) -> Credential | None:
        """See the port."""
        return await self._found.ask(name)

    def used(self, credential: Credential, network: str) -> None:
        """See the port."""
        self._keep(credential.id, _Use(self._clock(), network))

    async def flush(self) -> None:
        """Write down who was used. Raises Unavailable; it is then kept for the next time."""
        waiting, self._waiting = sorted(self._waiting.items(), key=itemgetter(0)), {}  # in one order for all: no deadlock
        while waiting:
            try:
                await self._write(waiting[:_STEP])
            except Unavailable:
                for number, use in waiting:
                    if number not in self._waiting:  # what came meanwhile is later
                        self._keep(number, use)
                raise
            del waiting[:_STEP]

    async def sample(self) -> list[str]:
        """The newest stored form of a chosen password, if there is one: all are of its kind. Raises Unavailable."""
        newest = _CHOSEN.order_by(credential.c.id.desc()).limit(1)
        return await self._database.read(lambda connection: list(connection.execute(newest).scalars()))

    def _keep(self, number: int, use: _Use) -> None:
        if number in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[number] = use

    def _write(self, uses: list[tuple[int, _Use]]) -> Deferred[Any]:
        rows = [{"b_id": number, "b_at": use.at, "b_network": use.network} for number, use in uses]
        return self._database.write(lambda connection: connection.execute(_USED, rows).rowcount)


def _named(connection: Connection, names: Collection[str]) -> dict[str, Credential | None]:
    rows = connection.execute(_BY_NAME, {"names": sorted(names)})
    return dict.fromkeys(names) | {row.name: Credential(**row._mapping) for row in rows}


@dataclass(frozen=True, slots=True)
class ListedCredential:
    """`age` of its password and `last_used` in seconds; `last_used` is None, and `last_network` "", when it never was."""

    id: int
    name: str
    domain: str
    account_id: str
    age: float
    last_used: float | None
    last_network: str


def credential_named(text: str) -> address.Address:
    """`text` as the address that a credential may have. Raises Conflict."""
    shown = maillog.peer_text(text, 80)
    try:
        read = address.parse(text)
        domain_named(read.domain)
        if address.parse(read.key).key != read.key:
            raise address.AddressError("needs quotes")  # a session that is open is looked up again by the key
    except address.AddressError as error:
        raise Conflict(f"{shown}: no name for an SMTP user: {error}; write it like shop@example.com") from None
    return read


def create(connection: Connection, name: address.Address | str, stored: str) -> Credential:
    """A new credential with the stored form of its password.

    Raises Conflict when its domain has five, when there is one of this name, or for no such name; NotFound without its domain.
    """
    of = credential_named(str(name))
    account_id = hold(connection, of.domain_key)
    if account_id is None:
        raise NotFound(f"{of.domain_key}: no account has this domain; `smtp-gateway domains add` gives it to one")
    if find(connection, of) is not None:
        raise Conflict(
            f"{of.key}: there is an SMTP user of this name; `smtp-gateway credentials reset` gives it a new password"
        )
    new = {"domain": of.domain_key, "slot": _free_slot(connection, of.domain_key), "name": of.key, "stored": stored}
    number = int(connection.execute(_CREATE, new).scalar_one())
    return Credential(number, of.key, of.domain_key, account_id, stored)


def _free_slot(connection: Connection, domain: str) -> int:
    taken = set(connection.execute(_SLOTS_TAKEN, {"domain": domain}).scalars())
    free = [slot for slot in SLOTS if slot not in taken]
    if not free:
        raise Conflict(f"{domain}: has {len(SLOTS)} SMTP users already, which is as many as a domain may have")
    return free[0]


def find(connection: Connection, name: address.Address | str) -> Credential | None:
    """The credential of this name, in whatever spelling."""
    try:
        key = address.parse(str(name)).key
    except address.AddressError:
        return None
    return _named(connection, [key])[key]


def listing(connection: Connection, domain: str = "") -> list[ListedCredential]:
    """The credentials by domain and name, of one domain or of all. Raises Conflict for no domain; NotFound."""
    if not domain:
        return [ListedCredential(**row._mapping) for row in connection.execute(_LISTING)]
    name = domain_named(domain)
    if owner(connection, name) is None:
        raise no_such(name)
    return [ListedCredential(**row._mapping) for row in connection.execute(_LISTING.where(credential.c.domain == name))]


def reset(connection: Connection, name: address.Address | str, stored: str) -> None:
    """Give it another password; the one before is of no use from then on, in open sessions too. Raises NotFound."""
    connection.execute(_RESET, {"b_name": _there(connection, name).name, "b_stored": stored})


def delete(connection: Connection, name: address.Address | str) -> None:
    """It is there no more, for open sessions neither. Raises NotFound."""
    connection.execute(credential.delete().where(credential.c.id == _there(connection, name).id))


def _there(connection: Connection, name: address.Address | str) -> Credential:
    found = find(connection, name)
    if found is None:
        shown = maillog.peer_text(str(name), 80)
        raise NotFound(f"{shown}: no SMTP user has this name; `smtp-gateway credentials list` shows those there are")
    return found
