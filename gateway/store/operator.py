"""What operators ask of the queue and do to it: list, show, retry, hold, release, delete.

Each is one short transaction on a connection from `gateway.store.engine.opened`, safe beside a running server: what it
works on is leased, and its outcome changes nothing once the lease is gone.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, select, update

from gateway.errors import NotFound
from gateway.queue.model import Hold, Spooled, State
from gateway.store.clock import now
from gateway.store.outcomes import drop_bodies
from gateway.store.schema import attempt, due_rows, message, recipient


@dataclass(frozen=True, slots=True)
class ListedRecipient:
    """One recipient with what a listing shows of its message. Times in seconds, sizes in octets."""

    id: int
    message_id: str
    account_id: str
    sender: str
    address: str
    field: str
    state: str
    leased: bool  # being delivered now
    attempts: int
    age: float  # since the message was accepted
    next_in: float | None  # until the next attempt; None when none is due
    code: int
    enhanced: str
    text: str
    hop: str
    hold: str  # why it is held, or once was: see gateway.queue.model.Hold
    size: int


@dataclass(frozen=True, slots=True)
class ListedAttempt:
    recipient_id: int
    age: float  # seconds since it ended
    result: str
    code: int
    enhanced: str
    text: str
    hop: str
    remote: str


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One message, whole but for its body."""

    id: str
    account_id: str
    sender: str
    envid: str
    ret: str
    age: float
    size: int
    header: bytes = field(repr=False)
    recipients: tuple[ListedRecipient, ...] = ()
    attempts: tuple[ListedAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many recipients were deleted, and the spooled bodies that nobody needs now: remove them after the commit."""

    recipients: int
    bodies: tuple[Spooled, ...]


_AGE = now() - message.c.accepted
_SIZE = message.c.body_size + func.length(message.c.header)
_WAITING = recipient.c.finished.is_(None)
_HELD = recipient.c.state == State.HELD.value


def _listing() -> Select[Any]:
    columns = (
        "id",
        "message_id",
        "address",
        "field",
        "state",
        "process",
        "attempts",
        "code",
        "enhanced",
        "text",
        "hop",
        "hold",
    )
    return select(
        *(recipient.c[name] for name in columns),
        message.c.account_id,
        message.c.sender,
        _AGE.label("age"),
        (recipient.c.next_attempt - now()).label("next_in"),
        _SIZE.label("size"),
    ).join_from(recipient, message)


def list_recipients(
    connection: Connection,
    *,
    state: str = "",
    account: str = "",
    domain: str = "",
    older_than: float = 0.0,
    limit: int = 100,
) -> list[ListedRecipient]:
    """Recipients, the oldest message first; without `state` those that still wait. `older_than` in seconds, "" is any."""
    wanted: list[ColumnElement[bool]] = [recipient.c.state == state if state else _WAITING]
    if state in (State.QUEUED, State.HELD):
        wanted.append(_WAITING)  # says the same, and lets the index of those that wait serve
    if account:
        wanted.append(message.c.account_id == account)
    if domain:
        wanted.append(recipient.c.domain == domain.lower())
    if older_than:
        wanted.append(message.c.accepted < now() - older_than)
    # Chosen by their numbers alone, which grow with time: to sort a million whole rows takes long
    chosen = select(recipient.c.id).where(*wanted).order_by(recipient.c.id).limit(limit)
    if account or older_than:
        chosen = chosen.join_from(recipient, message)
    query = _listing().where(recipient.c.id.in_(chosen)).order_by(recipient.c.id)
    return [_listed(row) for row in connection.execute(query)]


def show(connection: Connection, id_: str) -> ShownMessage:
    """The message with this queue id, or with the recipient of this number. Raises NotFound."""
    columns = ("id", "account_id", "sender", "envid", "ret", "header")
    query = select(*(message.c[name] for name in columns), _AGE.label("age"), _SIZE.label("size"))
    row = None
    for named in _named(id_):
        ids = select(recipient.c.message_id).where(named)
        row = row or connection.execute(query.where(message.c.id.in_(ids))).one_or_none()
    if row is None:
        raise NotFound(f"no message or recipient {id_} in the queue or its log")
    recipients = connection.execute(_listing().where(message.c.id == row.id).order_by(recipient.c.position))
    return ShownMessage(
        **row._mapping,
        recipients=tuple(_listed(r) for r in recipients),
        attempts=tuple(_attempts(connection, row.id)),
    )


def retry(connection: Connection, id_: str) -> int:
    """Make a message (by queue id) or one recipient (by number) due now; how many recipients will be tried.

    What is being delivered at this moment is left alone, what is held stays held. Raises NotFound, when all are held, too.
    """
    chosen = _chosen(connection, id_)
    tried = update(recipient).where(chosen, _WAITING, ~_HELD, recipient.c.process.is_(None)).values(next_attempt=now())
    count = connection.execute(tried).rowcount
    if not count and connection.execute(select(recipient.c.id).where(chosen, _HELD)).first():
        raise NotFound(f"{id_} is held; `smtp-gateway queue release` lets it go")
    return count


def retry_all(connection: Connection, *, domain: str = "", after: int = 0, limit: int) -> list[int]:
    """Make due now what waits for its next attempt, in `domain` or anywhere: at most `limit` recipients past number `after`.

    Returns their numbers; whoever asks again with the last one as `after` reaches all, and holds up no writer for long.
    """
    wanted = [due_rows, recipient.c.id > after, *([recipient.c.domain == domain.lower()] if domain else [])]
    some = select(recipient.c.id).where(*wanted).order_by(recipient.c.id).limit(limit)
    change = update(recipient).where(recipient.c.id.in_(some), due_rows).values(next_attempt=now()).returning(recipient.c.id)
    return sorted(connection.execute(change).scalars())


def hold(connection: Connection, id_: str) -> int:
    """Hold a message (by queue id) or one recipient (by number) until it is released; how many recipients are held now.

    One that is being delivered keeps its lease: when it arrives it has arrived, else it is held. Raises NotFound.
    """
    change = update(recipient).where(_chosen(connection, id_), _WAITING)
    return connection.execute(change.values(state=State.HELD.value, hold=Hold.OPERATOR.value)).rowcount


def release(connection: Connection, id_: str) -> int:
    """Make held recipients of a message (by queue id), or one (by number), due now; how many. Raises NotFound.

    What was held because its account is disabled goes although it is; what an operator held goes if its account is enabled.
    """
    change = update(recipient).where(_chosen(connection, id_), _HELD)
    decided = case((recipient.c.hold == Hold.ACCOUNT.value, Hold.RELEASED.value), else_=Hold.NONE.value)
    count = connection.execute(change.values(state=State.QUEUED.value, hold=decided, next_attempt=now())).rowcount
    if not count:
        raise NotFound(f"nothing of {id_} is held")
    return count


def delete(connection: Connection, id_: str) -> Deletion:
    """Take a message (by queue id) or one recipient (by number) out of the queue, without a report. Raises NotFound.

    One that is being delivered loses its lease, so the delivery stops where it next looks, or its outcome is dropped.
    """
    change = (
        update(recipient)
        .where(_chosen(connection, id_), _WAITING)
        .values(state=State.DELETED.value, process=None, finished=now())
        .returning(recipient.c.message_id)
    )
    deleted = connection.execute(change).scalars().all()
    return Deletion(len(deleted), tuple(drop_bodies(connection, set(deleted))))


def _chosen(connection: Connection, id_: str) -> ColumnElement[bool]:
    """The recipients that `id_` names. Raises NotFound when none of them waits."""
    for condition in _named(id_):
        waiting = connection.execute(select(_WAITING.label("waits")).where(condition)).scalars().all()
        if any(waiting):
            return condition
        if waiting:
            raise NotFound(f"nobody waits for {id_} any more; `smtp-gateway queue show` says what became of it")
    raise NotFound(f"no message or recipient {id_} in the queue")


def _named(id_: str) -> list[ColumnElement[bool]]:
    """The recipients that `id_` can mean, the likeliest first: a queue id in either case, or a recipient's number."""
    named = [recipient.c.message_id == id_.upper()]
    if id_.isascii() and id_.isdigit() and len(id_) < 16:  # a queue id has 16 characters
        named.append(recipient.c.id == int(id_))
    return named


def _listed(row: Row[Any]) -> ListedRecipient:
    values = dict(row._mapping)
    leased = values.pop("process") is not None
    due = row.state == State.QUEUED and not leased
    return ListedRecipient(**{**values, "leased": leased, "next_in": row.next_in if due else None})


def _attempts(connection: Connection, message_id: str) -> list[ListedAttempt]:
    columns = ("recipient_id", "result", "code", "enhanced", "text", "hop", "remote")
    query = (
        select(*(attempt.c[name] for name in columns), (now() - attempt.c.at).label("age"))
        .join_from(attempt, recipient)
        .where(recipient.c.message_id == message_id)
        .order_by(attempt.c.id)
    )
    return [ListedAttempt(**row._mapping) for row in connection.execute(query)]
