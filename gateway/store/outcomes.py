"""What one transaction does to write outcomes down: the recipients, the attempts, the reports, and messages that are done with.

Each outcome asks in its WHERE for the lease under which it was made, so one that comes after the lease is gone changes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Integer,
    Text,
    case,
    exists,
    insert,
    or_,
    select,
    update,
)

from gateway import maillog
from gateway.queue.model import NewMessage, Record, Recorded, Spooled, State
from gateway.store.admission import insert_messages
from gateway.store.clock import now
from gateway.store.given import as_rows, given, in_steps
from gateway.store.prepared import Prepared
from gateway.store.schema import attempt, message, recipient

Told = tuple[Sequence[Record], Sequence[NewMessage]]  # outcomes, and the reports about them

HELD = recipient.c.state == State.HELD.value
_WAITING = (State.QUEUED, State.HELD)

_SETTLE = (
    update(recipient)
    # Held or not: an operator may hold what is under way, and must hear when it arrived all the same
    .where(recipient.c.id == given(0, BigInteger), recipient.c.process == given(1, Integer))
    .values(
        process=None,
        state=given(2, Text),
        attempts=recipient.c.attempts + given(3, Integer),
        delay_warned=or_(recipient.c.delay_warned, given(4, Integer) > 0),
        code=given(5, Integer),
        enhanced=given(6, Text),
        text=given(7, Text),
        hop=given(8, Text),
    )
    .returning(recipient.c.id, recipient.c.message_id)
)
_AGAIN = Prepared(
    _SETTLE.values(next_attempt=now() + given(9, Double), state=case((HELD, State.HELD.value), else_=given(2, Text)))
)
_DONE = Prepared(_SETTLE.values(finished=now()))
_ATTEMPT = {
    column.name: given(position, type(column.type))
    for position, column in enumerate(
        (
            attempt.c.recipient_id,
            attempt.c.result,
            attempt.c.code,
            attempt.c.enhanced,
            attempt.c.text,
            attempt.c.hop,
            attempt.c.remote,
        )
    )
}
_ATTEMPTS = Prepared(insert(attempt).from_select([*_ATTEMPT, "at"], select(*_ATTEMPT.values(), now())))
_ALL_OF_THEM = message.c.id.in_(select(given(0, Text)))
_HOLD_STILL = Prepared(select(message.c.id).where(_ALL_OF_THEM).order_by(message.c.id).with_for_update(key_share=True))
_END = Prepared(
    update(message)
    .where(
        _ALL_OF_THEM,
        message.c.finished.is_(None),
        ~exists().where(recipient.c.message_id == message.c.id, recipient.c.finished.is_(None)),
    )
    .values(body=None, finished=now())
    .returning(message.c.id, message.c.body_file, message.c.body_size)
)
_FORGET_FILES = Prepared(update(message).where(_ALL_OF_THEM).values(body_file=None))


def record(connection: Connection, told: Sequence[Told]) -> list[Recorded]:
    """Write down outcomes and queue the reports about them."""
    settled = _settle(connection, [one for records, _ in told for one in records])
    of_each = [[settled.pop(one.outcome.recipient.id, None) for one in records] for records, _ in told]
    insert_messages(connection, [(report, None) for report in _due_reports(told, of_each)])
    files = _ended(connection, {id_ for ids in of_each for id_ in ids if id_ is not None})
    return [
        Recorded([files.pop(id_) for id_ in dict.fromkeys(ids) if id_ in files], _late(records, ids))
        for (records, _), ids in zip(told, of_each, strict=True)
    ]


def _late(records: Sequence[Record], ids: Sequence[str | None]) -> frozenset[int]:
    return frozenset(one.outcome.recipient.id for one, id_ in zip(records, ids, strict=True) if id_ is None)


def drop_bodies(connection: Connection, ids: Collection[str]) -> list[Spooled]:
    """Let go of the bodies of those messages of `ids` that nobody waits for; the files among them, still to be removed."""
    return list(_ended(connection, ids).values())


def _due_reports(told: Sequence[Told], of_each: Sequence[Sequence[str | None]]) -> Iterator[NewMessage]:
    for (records, reports), ids in zip(told, of_each, strict=True):
        late = ids.count(None)
        if late:
            maillog.outcomes_too_late(late)
        if late < len(records) or not records:  # reports on nothing but late outcomes would be somebody else's to send
            yield from reports


def _settle(connection: Connection, records: Sequence[Record]) -> dict[int, str]:
    """Write outcomes down; which recipients were still ours, with their message's id."""
    first: dict[int, Record] = {}  # the second outcome of one recipient comes too late
    for one in records:
        first.setdefault(one.outcome.recipient.id, one)
    again = [one for one in first.values() if one.state in _WAITING]
    done = [one for one in first.values() if one.state not in _WAITING]
    settled: dict[int, str] = {}
    for statement, some in ((_AGAIN, again), (_DONE, done)):
        for rows in in_steps([_row(one) for one in some]):
            settled |= {row.id: row.message_id for row in statement.run(connection, rows)}
    _note_attempts(connection, (first[id_] for id_ in settled))
    return settled


def _row(record: Record) -> tuple[str | int | float, ...]:
    outcome, one = record.outcome, record.outcome.recipient
    told = outcome.code, outcome.enhanced, outcome.text, outcome.hop
    return one.id, one.lease, record.state, int(outcome.burns_attempt), int(record.delay_warned), *told, record.delay


def _note_attempts(connection: Connection, records: Iterable[Record]) -> None:
    rows = [
        (one.recipient.id, one.result, one.code, one.enhanced, one.text, one.hop, one.remote)
        for one in (record.outcome for record in records)
        if one.burns_attempt
    ]
    for some in in_steps(rows):
        _ATTEMPTS.run(connection, some)


def _ended(connection: Connection, ids: Collection[str]) -> dict[str, Spooled]:
    """End those messages of `ids` that nobody waits for; which of them had files, still to be removed."""
    if not ids:
        return {}
    messages = as_rows((id_,) for id_ in ids)
    if connection.dialect.name == "postgresql":
        # Two machines that finish a message's last two recipients at once: each would see the other's as unfinished
        _HOLD_STILL.run(connection, messages)
    ended = _END.run(connection, messages)
    files = {row.id: Spooled(row.body_file, row.body_size) for row in ended if row.body_file is not None}
    if files:
        _FORGET_FILES.run(connection, as_rows((id_,) for id_ in files))
    return files
