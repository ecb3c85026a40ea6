"""How much waits in the queue and how long, without reading the rows: a queue of a million is looked at every few seconds.

All of it comes from two indexes: recipient_waiting, where those that wait stand in the order in which they came, and
recipient_lease, which is as short as the list of those under way.
"""

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select, true

from gateway.queue.model import QueueCounts, State
from gateway.store.clock import now
from gateway.store.schema import message, queued, recipient

_WAITS = and_(queued, recipient.c.finished.is_(None))
_TRIED = recipient.c.attempts > 0
_ALL = select(func.count().filter(not_(_TRIED)).label("queued"), func.count().filter(_TRIED).label("deferred"))
_WAITING = _ALL.where(_WAITS).subquery()
_UNDER_WAY = _ALL.where(queued, recipient.c.process.is_not(None)).subquery()
_HELD = select(func.count()).where(recipient.c.state == State.HELD.value, recipient.c.finished.is_(None)).scalar_subquery()


def _first(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The recipient that has waited longest of those with this `condition`, a column of the index."""
    return recipient.c.id == select(func.min(recipient.c.id)).where(_WAITS, condition).scalar_subquery()


_OLDEST = (
    select(func.coalesce(now() - func.min(message.c.accepted), 0.0))
    .join_from(recipient, message)
    .where(or_(_first(recipient.c.delay_warned), _first(not_(recipient.c.delay_warned))))
    .scalar_subquery()
)
COUNTS = select(
    (_WAITING.c.queued - _UNDER_WAY.c.queued).label("queued"),
    (_WAITING.c.deferred - _UNDER_WAY.c.deferred).label("deferred"),
    (_UNDER_WAY.c.queued + _UNDER_WAY.c.deferred).label("active"),
    _HELD.label("held"),
    _OLDEST.label("oldest"),
).select_from(_WAITING.join(_UNDER_WAY, onclause=true()))


def counts(connection: Connection) -> QueueCounts:
    """Recipients by state, and the age of the oldest."""
    return QueueCounts(*connection.execute(COUNTS).one())
