"""What operators ask of lockouts and do to them: list, clear.

Each is one short transaction on a connection from `gateway.store.engine.opened`, safe beside a running server.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, delete, or_, select

from gateway.accounts.lockout import credential_id
from gateway.store.clock import now
from gateway.store.schema import credential, failure, lockout


@dataclass(frozen=True, slots=True)
class ListedLock:
    """A lock that holds now. `subject` is "" for a network's, `network` "" for an account's. Times in seconds."""

    scope: str
    subject: str
    stored_tag: str  # of the stored hash whose guessing made it
    network: str
    age: float
    left: float
    credential: str = ""  # its name, when the subject is one that is still there


@dataclass(frozen=True, slots=True)
class Cleared:
    locks: int  # that held
    failures: int


def active(connection: Connection) -> list[ListedLock]:
    """The locks that hold now, the one that ends last first."""
    query = (
        select(lockout.c.scope, lockout.c.subject, lockout.c.stored_tag, lockout.c.network)
        .add_columns((now() - lockout.c.at).label("age"), (lockout.c.until - now()).label("left"))
        .where(lockout.c.until > now())
        .order_by(lockout.c.until.desc())
    )
    locks = [ListedLock(**row._mapping) for row in connection.execute(query)]
    numbers = [credential_id(lock.subject) for lock in locks]
    names = _names(connection, {number for number in numbers if number is not None})
    return [replace(lock, credential=names.get(number, "")) for lock, number in zip(locks, numbers, strict=True)]


def _names(connection: Connection, numbers: Collection[int]) -> dict[int | None, str]:
    if not numbers:
        return {}
    rows = connection.execute(select(credential.c.id, credential.c.name).where(credential.c.id.in_(numbers)))
    return {row.id: row.name for row in rows}


def clear_subjects(connection: Connection, subjects: Collection[str]) -> Cleared:
    """End every lock of these accounts, from whichever network, and forget their failures."""
    return _clear(connection, lockout.c.subject.in_(subjects), failure.c.subject.in_(subjects))


def clear_networks(connection: Connection, networks: Collection[str]) -> Cleared:
    """End every lock of these networks, of whichever account, and forget what failed from them."""
    failures = or_(failure.c.network.in_(networks), failure.c.trust_network.in_(networks))
    return _clear(connection, lockout.c.network.in_(networks), failures)


def _clear(connection: Connection, locks: ColumnElement[bool], failures: ColumnElement[bool]) -> Cleared:
    """Locks that are over go too, since they make the next ones longer. Charges go: hashes under way count no more."""
    held = connection.execute(delete(lockout).where(locks, lockout.c.until > now())).rowcount
    connection.execute(delete(lockout).where(locks))
    return Cleared(held, connection.execute(delete(failure).where(failures)).rowcount)
