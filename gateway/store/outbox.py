"""The queue's rows: messages, their recipients, leases and outcomes. Implements `gateway.queue.ports.Outbox`.

A lease is the number of a row in `process` (gateway.store.processes), kept in the recipient's row. Each statement that ends a
lease asks for it in its WHERE, so an outcome that comes after the lease is gone (deleted by an operator, taken by another)
changes nothing. Where machines share the store, whoever looks for work passes over rows that another has locked
(SKIP LOCKED): none waits for another, and no recipient is given to two.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.queue.model import (
    Added,
    BodyRef,
    Envelope,
    Field,
    Hold,
    Inline,
    More,
    NewMessage,
    QueueCounts,
    QueuedMessage,
    Recipient,
    Record,
    Recorded,
    Spooled,
    State,
)
from gateway.store import census, outcomes, overdue
from gateway.store.admission import admit
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.failures import Unfit
from gateway.store.process_name import ProcessName
from gateway.store.processes import Processes
from gateway.store.schema import due_rows, held_back, message, queued, recipient

_ROWS_A_MESSAGE = 20  # how many due rows are looked through for one message, at most; one row is enough to make progress

_DUE = (
    select(recipient.c.message_id)
    .where(due_rows, recipient.c.next_attempt <= now())
    .order_by(recipient.c.next_attempt, recipient.c.id)
    .limit(bindparam("rows"))
    .with_for_update(skip_locked=True)
)
# The difference, and not next_attempt itself: these few messages must not be looked for among all that is due
_LEASE = (
    update(recipient)
    .where(
        recipient.c.id.in_(
            select(recipient.c.id)
            .where(recipient.c.message_id.in_(bindparam("messages", expanding=True)))
            .where(due_rows, recipient.c.next_attempt - now() <= 0)
            .with_for_update(skip_locked=True)
        )
    )
    .values(process=bindparam("us"))
    .returning(recipient)
)
_MESSAGES = select(message, (now() - message.c.accepted).label("age")).where(
    message.c.id.in_(bindparam("messages", expanding=True))
)
_OURS = and_(recipient.c.id == bindparam("b_id"), recipient.c.process == bindparam("us"))
_RELEASE = (
    update(recipient)
    .where(recipient.c.id.in_(bindparam("ids", expanding=True)), recipient.c.process == bindparam("us"))
    .values(process=None)
)
_LEASES = select(recipient.c.id, recipient.c.process).where(recipient.c.id.in_(bindparam("ids", expanding=True)), queued)
_DISOWN = (
    update(recipient)
    .where(recipient.c.id.in_(select(recipient.c.id).where(recipient.c.message_id == bindparam("message"))))
    .where(recipient.c.process == bindparam("us"))
    .values(process=None)
)
_ITS_ACCOUNT = select(message.c.account_id).where(message.c.id == recipient.c.message_id).scalar_subquery()
_HOLD_BACK = (
    update(recipient)
    .where(_OURS)
    .values(
        process=None,
        state=State.HELD.value,
        hold=case((outcomes.HELD, recipient.c.hold), else_=Hold.ACCOUNT.value),
        held_account=_ITS_ACCOUNT,
    )
)
_HELD_ACCOUNTS = select(recipient.c.held_account).distinct().where(held_back)
_LET_GO = (
    update(recipient)
    .where(
        recipient.c.id.in_(
            select(recipient.c.id)
            .where(held_back, recipient.c.held_account == bindparam("account"))
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(state=State.QUEUED.value, hold=Hold.NONE.value, next_attempt=now())
)
_NEXT_DUE = select(func.min(recipient.c.next_attempt) - now()).where(due_rows)
_TOO_FAR = (
    select(recipient.c.id)
    .where(due_rows, recipient.c.next_attempt > now() + bindparam("longest"))
    .order_by(recipient.c.next_attempt.desc())
    .limit(bindparam("most"))
)
_PULL_IN = update(recipient).where(recipient.c.id.in_(_TOO_FAR.with_for_update(skip_locked=True))).values(next_attempt=now())
_SWEEP = delete(message).where(
    message.c.id.in_(
        select(message.c.id)
        .where(message.c.finished < now() - bindparam("keep"))
        .order_by(message.c.finished)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)
_LIVE = select(message.c.body_file).where(message.c.body_file.in_(bindparam("names", expanding=True)))


class SqlOutbox:
    """The queue in `database`. `register` comes before all else; the others are those of gateway.store.processes."""

    def __init__(
        self, database: Database, name: str, lives: Callable[[str], bool] = lambda name: False, worker: int = 0
    ) -> None:
        self._database = database
        self.processes = Processes(database, ProcessName(name, worker), lives)

    async def register(self) -> None:
        """Free the leases of our earlier life and of the dead, and take a number of our own. Raises Unavailable."""
        await self.processes.register()

    async def add(self, new: NewMessage, *, lease: bool) -> Added:
        us = await self.processes.leasing() if lease else None
        return await self._database.write_together(admit, (new, us), order=new.account_id)  # its day's row

    def disown(self, message_id: str) -> Deferred[None]:
        def free(connection: Connection) -> None:
            connection.execute(_DISOWN, {"message": message_id, "us": self.processes.number})

        return self._database.write(free)

    async def take(self, limit: int) -> list[QueuedMessage]:
        us = await self.processes.leasing()
        return await self._database.write(lambda connection: _lease(connection, _chosen(connection, limit), us))

    async def overdue(self, limit: int, *, warn_after: float, give_up: float) -> list[QueuedMessage]:
        """See the port. It may look at many, so it looks in a reader's thread and only leases in the writer's."""
        ages, rows = {"warn_after": warn_after, "give_up": give_up}, limit * _ROWS_A_MESSAGE
        found = (await self._database.read(lambda connection: overdue.overdue(connection, rows, **ages)))[:limit]
        us = await self.processes.leasing()
        return await self._database.write(lambda connection: _lease(connection, found, us)) if found else []

    def record(self, records: Sequence[Record], reports: Sequence[NewMessage], more: More | None = None) -> Deferred[Recorded]:
        """See the port. A hop's words that the database's character set cannot hold are written down in ASCII."""

        def in_ascii(failure: Failure) -> Deferred[Recorded]:
            failure.trap(Unfit)
            return self._database.write_together(outcomes.record, ([outcomes.in_ascii(one) for one in records], reports, more))

        return self._database.write_together(outcomes.record, (records, reports, more)).addErrback(in_ascii)

    def release(self, recipients: Sequence[Recipient]) -> Deferred[None]:
        ids = {lease: [r.id for r in recipients if r.lease == lease] for lease in {r.lease for r in recipients}}

        def free(connection: Connection) -> None:
            for lease in sorted(ids):
                connection.execute(_RELEASE, {"ids": ids[lease], "us": lease})

        return self._database.write(free)

    async def still_ours(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        await self.processes.leasing()
        ids = [r.id for r in recipients]

        def look(connection: Connection) -> list[Recipient]:
            leases = {row.id: row.process for row in connection.execute(_LEASES, {"ids": ids})}
            return [r for r in recipients if leases.get(r.id) == r.lease]

        return await self._database.read(look)

    def hold_back(self, recipients: Sequence[Recipient]) -> Deferred[int]:
        rows = [{"b_id": r.id, "us": r.lease} for r in recipients]
        return self._database.write(lambda connection: sum(connection.execute(_HOLD_BACK, row).rowcount for row in rows))

    def held_accounts(self) -> Deferred[set[str]]:
        return self._database.read(lambda connection: set(connection.execute(_HELD_ACCOUNTS).scalars()))

    def let_go(self, account_id: str, limit: int) -> Deferred[int]:
        values = {"account": account_id, "most": limit}
        return self._database.write(lambda connection: connection.execute(_LET_GO, values).rowcount)

    def next_due(self) -> Deferred[float | None]:
        return self._database.read(lambda connection: connection.execute(_NEXT_DUE).scalar())

    async def pull_in(self, longest: float, limit: int) -> int:
        """Make due now what is to be tried again later than any pause allows, `longest` in seconds: at most `limit` of it.

        The store's clock was ahead when that was written, and has been put right since. Raises Unavailable.
        """
        values = {"longest": longest, "most": limit}
        if not await self._database.read(lambda connection: connection.execute(_TOO_FAR, {**values, "most": 1}).first()):
            return 0
        return await self._database.write(lambda connection: connection.execute(_PULL_IN, values).rowcount)

    def counts(self) -> Deferred[QueueCounts]:
        return self._database.read(census.counts)

    def sweep(self, keep: float, limit: int) -> Deferred[int]:
        """Delete at most `limit` messages that nobody has waited for since `keep` seconds; how many there were.

        In small steps, because a long one would hold up those who wait for their 250. Raises Unavailable.
        """
        return self._database.write(lambda connection: connection.execute(_SWEEP, {"keep": keep, "most": limit}).rowcount)

    def live_bodies(self, names: Collection[str]) -> Deferred[set[str]]:
        """Those of `names` in the spool that a message still needs. Raises Unavailable."""
        return self._database.read(lambda connection: set(connection.execute(_LIVE, {"names": list(names)}).scalars()))


def _chosen(connection: Connection, limit: int) -> list[str]:
    """The messages of recipients that are due, in their order, at most `limit`."""
    ids = connection.execute(_DUE, {"rows": limit * _ROWS_A_MESSAGE}).scalars()
    return list(dict.fromkeys(ids))[:limit]


def _lease(connection: Connection, order: Sequence[str], us: int) -> list[QueuedMessage]:
    """Lease what is due of these messages, and read it."""
    leased: dict[str, list[Row[Any]]] = {}
    if order:
        for row in connection.execute(_LEASE, {"messages": order, "us": us}):
            leased.setdefault(row.message_id, []).append(row)
    messages = {row.id: row for row in connection.execute(_MESSAGES, {"messages": list(leased)})} if leased else {}
    return [_queued(messages[id_], leased[id_]) for id_ in order if id_ in leased]


def _queued(row: Row[Any], recipients: Iterable[Row[Any]]) -> QueuedMessage:
    envelope = Envelope(row.sender, row.eight_bit, row.smtputf8, row.ret, row.envid)
    body: BodyRef = Inline(row.body or b"") if row.body_file is None else Spooled(row.body_file, row.body_size)
    in_order = sorted(recipients, key=lambda r: r.position)
    return QueuedMessage(row.id, row.account_id, envelope, row.header, body, row.age, tuple(map(_recipient, in_order)))


def _recipient(row: Row[Any]) -> Recipient:
    released = row.hold == Hold.RELEASED
    field = Field(row.field)
    return Recipient(
        row.id, row.address, field, row.notify, row.orcpt, row.attempts, row.delay_warned, released, lease=row.process
    )
