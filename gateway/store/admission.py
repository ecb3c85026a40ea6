"""What one transaction does to queue messages: the resend guard, the charge, and only then the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, false, insert, literal_column, select

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
from gateway.store.given import as_rows, given
from gateway.store.schema import message, recipient

Submitted = tuple[NewMessage, int | None]  # with the process that it is leased to; None: to nobody

_ADD_MESSAGES = insert(message).values(accepted=now())
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
_ADD_RECIPIENTS = (
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
    connection.execute(_ADD_MESSAGES, [_message_row(new) for new, _ in submitted])
    rows = (_own_columns(new, position, one, us) for new, us in submitted for position, one in enumerate(new.recipients))
    ids = {(message_id, position): id_ for message_id, position, id_ in connection.execute(_ADD_RECIPIENTS, as_rows(rows))}
    return [_queued(new, us, ids) for new, us in submitted]


def _message_row(new: NewMessage) -> dict[str, Any]:
    return {
        "id": new.id,
        "account_id": new.account_id,
        "sender": new.envelope.sender,
        "eight_bit": new.envelope.eight_bit,
        "smtputf8": new.envelope.smtputf8,
        "ret": new.envelope.ret,
        "envid": new.envelope.envid,
        "body_size": new.body.size,
        "body_file": new.body.name if isinstance(new.body, Spooled) else None,
        "header": new.header,
        "body": new.body.data if isinstance(new.body, Inline) else None,
    }


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
