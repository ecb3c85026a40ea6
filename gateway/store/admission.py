"""What one transaction does to queue a message: the resend guard, the charge, and only then the rows."""

from typing import Any

from sqlalchemy import Connection, insert

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
from gateway.store.schema import message, recipient

_ADD_MESSAGE = insert(message).values(accepted=now())
_ADD_RECIPIENTS = insert(recipient).values(next_attempt=now()).returning(recipient.c.id, recipient.c.position)


def admit(connection: Connection, new: NewMessage, us: int | None) -> Added:
    """Queue and charge a message, leased to process `us` if there is one; or say why not, with nothing of it left behind.

    What is denied is an answer, not an exception, for the suspension that it may have made has to be committed.
    """
    if new.resend_key:
        first = resends.claim(connection, new.resend_key, new.account_id, new.id)
        if first is not None:
            return Duplicate(first)
    standing: Standing | None = None
    if new.terms is not None:
        charged = charges.charge(connection, new, new.terms)
        if isinstance(charged, Denied):
            resends.forget(connection, new.resend_key)
            return charged
        standing = charged
    return Queued(insert_message(connection, new, us), standing)


def insert_message(connection: Connection, new: NewMessage, us: int | None) -> QueuedMessage:
    """Write its rows, leased to process `us` if there is one; only then the answer has recipients."""
    connection.execute(
        _ADD_MESSAGE,
        {
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
        },
    )
    rows = [_new_row(new.id, position, r, us) for position, r in enumerate(new.recipients)]
    ids = {position: id_ for id_, position in connection.execute(_ADD_RECIPIENTS, rows)}
    leased = [
        Recipient(ids[i], r.address, r.field, r.notify, r.orcpt, 0, False, lease=us or 0) for i, r in enumerate(new.recipients)
    ]
    return QueuedMessage(new.id, new.account_id, new.envelope, new.header, new.body, 0.0, tuple(leased) if us else ())


def _new_row(message_id: str, position: int, new: NewRecipient, us: int | None) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "position": position,
        "address": new.address,
        "domain": _domain(new.address),
        "field": new.field.value,
        "state": State.QUEUED.value,
        "attempts": 0,
        "process": us,
        "notify": new.notify,
        "orcpt": new.orcpt,
        "delay_warned": False,
        "code": 0,
        "enhanced": "",
        "text": "",
        "hop": "",
        "hold": Hold.NONE.value,
    }


def _domain(text: str) -> str:
    try:
        return address.parse(text).domain_key
    except address.AddressError:  # a table whose logins are no addresses: their reports have no domain
        return ""
