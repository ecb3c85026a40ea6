"""Tells a submission that comes a second time, because its sender never got the 250, from a new one.

Statements of their own, one after the other, and not one clever one: on PostgreSQL the INSERT waits for whoever submits the
same at this moment, and only a statement that starts after it sees what that one has committed.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Text, and_, bindparam, delete, exists, select, true, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT, too; not the other way round

from gateway.queue.model import NewMessage, State
from gateway.store.clock import now
from gateway.store.given import as_rows, given
from gateway.store.prepared import Prepared
from gateway.store.schema import message, recipient, resend

WITHIN = 600.0  # seconds
SPOILT = (State.FAILED, State.HELD, State.DELETED)  # a recipient in one of these: sending again is meant

_KEY = resend.c.key == bindparam("b_key")
_CLAIM = Prepared(
    insert(resend)
    .from_select(
        ["key", "account_id", "message_id", "at"],
        # SQLite would take the ON of a conflict for that of a join, were there no WHERE
        select(given(0, Text), given(1, Text), given(2, Text), now()).where(true()),
    )
    .on_conflict_do_nothing(index_elements=[resend.c.key])
    .returning(resend.c.message_id)
)
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


def claim_new(connection: Connection, messages: Sequence[NewMessage]) -> set[str]:
    """The queue ids of those whose key was nobody's, and is theirs from now on. Of several with one key, one."""
    # In the same order on every machine: see Database.write
    rows = sorted((new.resend_key, new.account_id, new.id) for new in messages)
    return {row.message_id for row in _CLAIM.run(connection, as_rows(rows))} if rows else set()


def claim(connection: Connection, new: NewMessage) -> str | None:
    """None: its key is this message's from now on. Else the queue id of the first one, and this one is to be dropped."""
    while not claim_new(connection, [new]):
        first = connection.execute(_FIRST, {"b_key": new.resend_key}).one_or_none()
        if first is None:
            continue  # swept in this moment
        if first.stands:
            return str(first.message_id)
        # Two that come again at once: the second finds the first one's id here, and has to look once more
        over = {"b_key": new.resend_key, "b_outdated": first.message_id, "b_message": new.id}
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
