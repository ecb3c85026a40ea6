"""What one transaction does to write outcomes down: the recipients, the attempts, the reports, and messages that are done with.

Each outcome asks in its WHERE for the lease under which it was made, so one that comes after the lease is gone changes nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Integer,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from gateway import maillog
from gateway.queue.model import MAX_BLIND_REPORTS, Field, More, NewMessage, Record, Recorded, Spooled, State
from gateway.store.admission import insert_messages
from gateway.store.clock import now
from gateway.store.given import as_rows, given, in_steps
from gateway.store.prepared import Prepared
from gateway.store.schema import attempt, message, recipient

# Outcomes of one message, the reports about them, and what makes the report on blind recipients that have none of their own
Told = tuple[Sequence[Record], Sequence[NewMessage], More | None]

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
_FAILED_BLIND = and_(
    recipient.c.field == literal_column(f"'{Field.BCC}'"),
    recipient.c.state == literal_column(f"'{State.FAILED}'"),
    or_(recipient.c.notify == literal_column("''"), recipient.c.notify.contains(literal_column("'FAILURE'"))),
)
_COUNT_FAILED_BLIND = Prepared(
    select(recipient.c.message_id, func.count().label("failed_blind"))
    .where(recipient.c.message_id.in_(select(given(0, Text))), _FAILED_BLIND)
    .group_by(recipient.c.message_id)
)
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
    settled = _settle(connection, [one for records, *_ in told for one in records])
    of_each = [[settled.pop(one.outcome.recipient.id, None) for one in records] for records, *_ in told]
    files, ended = _ended(connection, {id_ for ids in of_each for id_ in ids if id_ is not None})
    due = _due_reports(told, of_each)
    wanted = list(due)
    excess = _withdraw_excess(connection, told, of_each, due, ended)
    recorded = []
    for index, ((records, *_), ids) in enumerate(zip(told, of_each, strict=True)):
        bodies = [files.pop(id_) for id_ in dict.fromkeys(ids) if id_ in files]
        unsent = tuple(report for report in wanted[index] if report not in due[index])
        recorded.append(Recorded(bodies, _late(records, ids), unsent, excess.get(index, 0)))
    insert_messages(connection, [(report, None) for reports in due for report in reports])
    return recorded


def _late(records: Sequence[Record], ids: Sequence[str | None]) -> frozenset[int]:
    return frozenset(one.outcome.recipient.id for one, id_ in zip(records, ids, strict=True) if id_ is None)


def in_ascii(record: Record) -> Record:
    """The same outcome in words that every database can hold."""
    outcome = record.outcome
    words = replace(outcome, text=_ascii(outcome.text), hop=_ascii(outcome.hop), remote=_ascii(outcome.remote))
    return replace(record, outcome=words)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("\0", "\\x00")


def drop_bodies(connection: Connection, ids: Collection[str]) -> list[Spooled]:
    """Let go of the bodies of those messages of `ids` that nobody waits for; the files among them, still to be removed."""
    files, _ = _ended(connection, ids)
    return list(files.values())


def _due_reports(told: Sequence[Told], of_each: Sequence[Sequence[str | None]]) -> list[list[NewMessage]]:
    due: list[list[NewMessage]] = []
    for (records, reports, _), ids in zip(told, of_each, strict=True):
        late = ids.count(None)
        if late:
            maillog.outcomes_too_late(late)
        # reports on nothing but late outcomes would be somebody else's to send
        due.append(list(reports) if late < len(records) or not records else [])
    return due


def _withdraw_excess(
    connection: Connection,
    told: Sequence[Told],
    of_each: Sequence[Sequence[str | None]],
    due: list[list[NewMessage]],
    ended: Collection[str],
) -> dict[int, int]:
    """Leave in `due` at most MAX_BLIND_REPORTS on failed blind recipients of a message; tell of the excess when it has ended.

    Answers how many are told of so, by index in `told`. The failed ones are counted in their rows, those just written among
    them, so restarts and other processes make no difference; the lock of `_ended` lets one transaction at a time count.
    """
    blind: dict[str, list[int]] = {}  # of each message, which of `due` are about a failed blind recipient
    last: dict[str, int] = {}  # of each message that has ended, which of `told` makes the report on the excess
    for index, ((records, _, more), ids) in enumerate(zip(told, of_each, strict=True)):
        if due[index] and records and ids[0] is not None and _is_failed_blind(records[0]):
            blind.setdefault(ids[0], []).append(index)
        if more is not None:
            last |= {id_: index for id_ in ids if id_ is not None and id_ in ended}
    if not blind and not last:
        return {}
    messages = as_rows((id_,) for id_ in blind.keys() | last.keys())
    failed = {row.message_id: row.failed_blind for row in _COUNT_FAILED_BLIND.run(connection, messages)}
    for id_, indexes in blind.items():
        room = MAX_BLIND_REPORTS - (failed.get(id_, 0) - len(indexes))
        for index in indexes[max(0, room) :]:
            due[index] = []
    excess = {}
    for id_, index in last.items():
        more, count = told[index][2], failed.get(id_, 0) - MAX_BLIND_REPORTS
        if more is not None and count > 0:
            due[index] = [*due[index], more(count)]
            excess[index] = count
    return excess


def _is_failed_blind(record: Record) -> bool:
    return record.state is State.FAILED and record.outcome.recipient.field is Field.BCC


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


def _ended(connection: Connection, ids: Collection[str]) -> tuple[dict[str, Spooled], set[str]]:
    """End those messages of `ids` that nobody waits for: which of them had files, still to be removed; and all of them."""
    if not ids:
        return {}, set()
    messages = as_rows((id_,) for id_ in ids)
    if connection.dialect.name == "postgresql":
        # Two machines that finish a message's last two recipients at once: each would see the other's as unfinished
        _HOLD_STILL.run(connection, messages)
    ended = _END.run(connection, messages)
    files = {row.id: Spooled(row.body_file, row.body_size) for row in ended if row.body_file is not None}
    if files:
        _FORGET_FILES.run(connection, as_rows((id_,) for id_ in files))
    return files, {row.id for row in ended}
