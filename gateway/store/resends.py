"""Tells a submission that comes a second time, because its sender never got the 250, from a new one.

Statements of their own, one after the other, and not one clever one: on PostgreSQL the INSERT waits for whoever submits the
same at this moment, and only a statement that starts after it sees what that one has committed.
"""

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT, too; not the other way round

from gateway.queue.model import State
from gateway.store.clock import now
from gateway.store.schema import message, recipient, resend

WITHIN = 600.0  # seconds
SPOILT = (State.FAILED, State.HELD, State.DELETED)  # a recipient in one of these: sending again is meant

_KEY = resend.c.key == bindparam("b_key")
_CLAIM = insert(resend).values(at=now()).on_conflict_do_nothing(index_elements=[resend.c.key]).returning(resend.c.key)
_SPOILT = exists().where(recipient.c.message_id == resend.c.message_id, recipient.c.state.in_(SPOILT))
_STANDS = and_(resend.c.at > now() - WITHIN, exists().where(message.c.id == resend.c.message_id), ~_SPOILT)
_FIRST = select(resend.c.message_id, _STANDS.label("stands")).where(_KEY)
_TAKE_OVER = (
    update(resend)
    .where(_KEY, resend.c.message_id == bindparam("b_outdated"))
    .values(message_id=bindparam("b_message"), at=now())
)
_SENT_LATELY = (
    select(resend.c.key)
    .join(message, message.c.id == resend.c.message_id)
    .join(recipient, recipient.c.message_id == message.c.id)
    .where(
        resend.c.account_id == bindparam("account"),
        resend.c.at > now() - WITHIN,
        message.c.sender == bindparam("sender"),
        recipient.c.address == bindparam("address"),
    )
    .limit(1)
)
_FORGET = delete(resend).where(_KEY)


def claim(connection: Connection, key: str, account_id: str, message_id: str) -> str | None:
    """None: the key is this message's from now on. Else the queue id of the first one, and this one is to be dropped."""
    while connection.execute(_CLAIM, {"key": key, "account_id": account_id, "message_id": message_id}).first() is None:
        first = connection.execute(_FIRST, {"b_key": key}).one_or_none()
        if first is None:
            continue  # swept in this moment
        if first.stands:
            return str(first.message_id)
        # Two that come again at once: the second finds the first one's id here, and has to look once more
        over = {"b_key": key, "b_outdated": first.message_id, "b_message": message_id}
        if connection.execute(_TAKE_OVER, over).rowcount:
            return None
    return None


def sent_lately(connection: Connection, account_id: str, sender: str, recipient_address: str) -> bool:
    """Whether a message that `claim` may know again went from the one to the other."""
    values = {"account": account_id, "sender": sender, "address": recipient_address}
    return connection.execute(_SENT_LATELY, values).first() is not None


def forget(connection: Connection, key: str) -> None:
    """The message that has claimed the key is not queued after all; what it has taken over was good for nothing."""
    connection.execute(_FORGET, {"b_key": key})
