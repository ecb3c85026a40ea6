"""Accounts suspended for going over their daily limit: made, listed, lifted. `day` as in `gateway.queue.allowance`."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT, too; not the other way round

from gateway.errors import NotFound
from gateway.store.clock import now
from gateway.store.schema import suspension

HOLDS = suspension.c.lifted.is_(None)

_SUSPEND = (
    insert(suspension).values(at=now()).on_conflict_do_nothing(index_elements=[suspension.c.account_id], index_where=HOLDS)
)
_LIFTED = (
    select(suspension.c.id)
    .where(
        suspension.c.account_id == bindparam("account"), suspension.c.day == bindparam("day"), suspension.c.lifted.is_not(None)
    )
    .limit(1)
)
_COLUMNS = (
    suspension.c.account_id,
    (now() - suspension.c.at).label("age"),
    suspension.c.daily_limit,
    suspension.c.used,
    suspension.c.day,
)
_ACTIVE = select(*_COLUMNS).where(HOLDS).order_by(suspension.c.at.desc(), suspension.c.id.desc())
_LIFT = update(suspension).where(suspension.c.account_id == bindparam("account"), HOLDS).values(lifted=now())


@dataclass(frozen=True, slots=True)
class Suspension:
    """`age` in seconds; `used` recipients were charged on `day` when it was made, of `daily_limit`."""

    account_id: str
    age: float
    daily_limit: int
    used: int
    day: int


def suspend(connection: Connection, account_id: str, day: int, *, daily_limit: int, used: int) -> None:
    """Suspend the account from now on; one that is suspended stays so."""
    connection.execute(_SUSPEND, {"account_id": account_id, "day": day, "daily_limit": daily_limit, "used": used})


def was_lifted(connection: Connection, account_id: str, day: int) -> bool:
    """Whether a suspension for that day has been lifted."""
    return connection.execute(_LIFTED, {"account": account_id, "day": day}).first() is not None


def active(connection: Connection) -> list[Suspension]:
    """Those that hold now, the latest first."""
    return [Suspension(**row._mapping) for row in connection.execute(_ACTIVE)]


def lift(connection: Connection, account_id: str) -> Suspension:
    """End the suspension of an account. Raises NotFound when there is none."""
    row = connection.execute(_LIFT.returning(*_COLUMNS), {"account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"account {account_id} is not suspended")
    return Suspension(**row._mapping)
