"""Which messages are so late that their senders have to hear: looked for while no next hop can be reached.

Those that wait stand in recipient_waiting in the order in which they came, so the walk begins with the oldest and ends with
the first that are too young. A queue of a million that is young costs no more than a short one.
"""

from sqlalchemy import Boolean, Connection, and_, bindparam, not_, or_, select, type_coerce

from gateway.store.clock import now
from gateway.store.schema import due_rows, message, queued, recipient

_LATE = message.c.accepted <= now() - bindparam("age")
_DUE = and_(due_rows, recipient.c.next_attempt <= now())
_OLDEST_FIRST = (
    select(recipient.c.message_id, type_coerce(_LATE, Boolean).label("late"))
    .join(message, message.c.id == recipient.c.message_id)
    .where(queued, recipient.c.finished.is_(None), or_(_DUE, not_(_LATE)))
    .order_by(recipient.c.id)
    .limit(bindparam("rows"))
)
UNWARNED = _OLDEST_FIRST.where(not_(recipient.c.delay_warned))
WARNED = _OLDEST_FIRST.where(recipient.c.delay_warned)


def overdue(connection: Connection, rows: int, *, warn_after: float, give_up: float) -> list[str]:
    """Messages with a due recipient that was not warned after `warn_after` seconds, or is older than `give_up`.

    At most `rows` recipients of each kind are looked at.
    """
    found: list[str] = []
    for query, age in ((UNWARNED, min(warn_after, give_up)), (WARNED, give_up)):
        found += [row.message_id for row in connection.execute(query, {"age": age, "rows": rows}) if row.late]
    return list(dict.fromkeys(found))
