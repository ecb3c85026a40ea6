"""What one transaction does to queue messages: the resend guard, the charge, and only then the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Text, false, insert, literal_column, select

from gateway import address
from gateway.queue.allowance import Denied, Standing
from gateway.queue.model import (
    Added,
    Duplicate,
    Hold,
    Inline,
    NewMessage,
    NewRecipient,
    Queued,
    QueuedMessage,
    Recipient,
    Spooled,
    State,
)
from gateway.store import charges, resends
from gateway.store.clock import now
from gateway.store.given import Octets, as_rows, given, given_octets, in_steps
from gateway.store.prepared import Prepared
from gateway.store.schema import message, recipient

OCTETS_AT_ONCE = 4 << 20  # of messages, in one statement: driver and database hold them several times over
Submitted = tuple[NewMessage, int | None]  # with the process that it is leased to; None: to nobody

_MESSAGE: dict[str, ColumnElement[Any]] = {
    **{
        name: given(position, Text) for position, name in enumerate(("id", "account_id", "sender", "ret", "envid", "body_file"))
    },
    "eight_bit": given(6, Integer) > 0,
    "smtputf8": given(7, Integer) > 0,
    "body_size": given(8, Integer),
    "header": given_octets(9),
    "body": given_octets(11),
    "accepted": now(),
}
_ADD_MESSAGES = Prepared(insert(message).from_select([*_MESSAGE], select(*_MESSAGE.values())))
_ALIKE: dict[str, ColumnElement[Any]] = {  # in the rows of all new recipients
    "state": literal_column(f"'{State.QUEUED}'"),
    "hold": literal_column(f"'{Hold.NONE}'"),
    "next_attempt": now(),
    "delay_warned": false(),
    **dict.fromkeys(("attempts", "code"), literal_column("0")),
    **dict.fromkeys(("enhanced", "text", "hop"), literal_column("''")),
}
_OWN = {
    column.name: given(position, type(column.type))
    for position, column in enumerate(
        (
            recipient.c.message_id,
            recipient.c.position,
            recipient.c.address,
            recipient.c.domain,
            recipient.c.field,
            recipient.c.process,
            recipient.c.notify,
            recipient.c.orcpt,
        )
    )
}
_ADD_RECIPIENTS = Prepared(
    insert(recipient)
    .from_select([*_OWN, *_ALIKE], select(*_OWN.values(), *_ALIKE.values()))
    .returning(recipient.c.message_id, recipient.c.position, recipient.c.id)
)


def admit(connection: Connection, submitted: Sequence[Submitted]) -> list[Added]:
    """Queue and charge these messages, each as if it had come alone; or say why not, with nothing of it left behind.

    What is denied is an answer, not an exception, for the suspension that it may have made has to be committed.
    """
    claimed = resends.claim_new(connection, [new for new, _ in submitted if new.resend_key])
    again = [(new, us) for new, us in submitted if new.resend_key and new.id not in claimed]
    answers = _queue(connection, [(new, us) for new, us in submitted if not new.resend_key or new.id in claimed])
    for new, us in again:  # last, and one by one: the first one may have been queued just now
        first = resends.claim(connection, new)
        answers |= _queue(connection, [(new, us)]) if first is None else {new.id: Duplicate(first)}
    return [answers[new.id] for new, _ in submitted]


def _queue(connection: Connection, submitted: Sequence[Submitted]) -> dict[str, Added]:
    charged = charges.charge_all(connection, [new for new, _ in submitted if new.terms is not None])
    answers: dict[str, Added] = {id_: came_to for id_, came_to in charged.items() if isinstance(came_to, Denied)}
    for new, _ in submitted:
        if new.id in answers:
            resends.forget(connection, new.resend_key)
    standings = {id_: came_to for id_, came_to in charged.items() if isinstance(came_to, Standing)}
    for queued in insert_messages(connection, [(new, us) for new, us in submitted if new.id not in answers]):
        answers[queued.id] = Queued(queued, standings.get(queued.id))
    return answers


def insert_messages(connection: Connection, submitted: Sequence[Submitted]) -> list[QueuedMessage]:
    """Write their rows; only those that are leased have recipients in the answer."""
    if not submitted:
        return []
    for messages in _steps([new for new, _ in submitted]):
        octets = Octets()
        of_all = as_rows([_message_row(new, octets) for new in messages])
        _ADD_MESSAGES.run(connection, of_all | octets.values())
    rows = [_own_columns(new, position, one, us) for new, us in submitted for position, one in enumerate(new.recipients)]
    ids: dict[tuple[str, int], int] = {}
    for some in in_steps(rows):
        ids |= {(row.message_id, row.position): row.id for row in _ADD_RECIPIENTS.run(connection, some)}
    return [_queued(new, us, ids) for new, us in submitted]


def _steps(messages: Sequence[NewMessage]) -> list[list[NewMessage]]:
    steps: list[list[NewMessage]] = []
    size = 0
    for new in messages:
        own = len(new.header) + (new.body.size if isinstance(new.body, Inline) else 0)
        if not steps or size + own > OCTETS_AT_ONCE:
            steps.append([])
            size = 0
        steps[-1].append(new)
        size += own
    return steps


def _message_row(new: NewMessage, octets: Octets) -> tuple[str | int | None, ...]:
    body, envelope = new.body, new.envelope
    file, inline = (body.name, None) if isinstance(body, Spooled) else (None, body.data)
    texts = new.id, new.account_id, envelope.sender, envelope.ret, envelope.envid, file
    numbers = int(envelope.eight_bit), int(envelope.smtputf8), body.size
    return *texts, *numbers, *octets.add(new.header), *octets.add(inline)


def _own_columns(new: NewMessage, position: int, one: NewRecipient, us: int | None) -> tuple[str | int | None, ...]:
    return new.id, position, one.address, _domain(one.address), one.field, us, one.notify, one.orcpt


def _queued(new: NewMessage, us: int | None, ids: Mapping[tuple[str, int], int]) -> QueuedMessage:
    leased = (
        Recipient(ids[new.id, i], one.address, one.field, one.notify, one.orcpt, 0, False, lease=us)
        for i, one in enumerate(new.recipients)
        if us
    )
    return QueuedMessage(new.id, new.account_id, new.envelope, new.header, new.body, 0.0, tuple(leased))


def _domain(text: str) -> str:
    try:
        return address.parse(text).domain_key
    except address.AddressError:  # a table whose logins are no addresses: their reports have no domain
        return ""
