"""Which gateways live, and the end of the leases of those that do not.

Theory of operation. A lease is the number of a row in `process`: one row for each life of a gateway. On SQLite the lock file
of a gateway's state directory tells whether it lives. Machines that share a store cannot see each other's files: there each
renews the heartbeat in its row, by the store's clock, and one whose heart has not beaten for 45 s is dead. Any other ends its
leases in small steps, so its mail is taken over within a minute. There is no leader: several may do this at once.

Whoever was only stopped and wakes up is dead to the others all the same. Its row may be gone, then it takes a new number; and
since numbers are never given out again, nothing that it had leased is still its own. A lease that is committed under a number
whose row is gone already (a group that was held up) belongs to the dead, too.

Nor does it lease or trust anything before its heart has beaten again: others may bury it in the very next moment.

While the store is away no heart beats, and when it is back all look dead. So nobody buries others before its own heart has
beaten for 45 s without a gap.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, union, update
from twisted.internet.defer import DeferredLock

from gateway import maillog
from gateway.queue.lease import SAFE
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.process_name import ProcessName, read
from gateway.store.schema import process, recipient

BEAT_EVERY = 5.0  # seconds
GAP = 20.0  # seconds between two beats that others may have lost, too: at least two of ours are missing
DEAD_AFTER = 45.0  # seconds
QUIET = DEAD_AFTER - SAFE  # seconds after a beat in which the store's word may be taken as a lease means it
STEP = 500  # leases ended in one transaction

_ENTER = insert(process).values(started=now(), heartbeat=now()).returning(process.c.id, process.c.heartbeat)
_BEAT = update(process).where(process.c.id == bindparam("us")).values(heartbeat=now()).returning(process.c.heartbeat)
_STALE = process.c.heartbeat < now() - DEAD_AFTER
_LEASED = recipient.c.process.is_not(None)
_OF_NOBODY = select(recipient.c.process).distinct().where(_LEASED, ~exists().where(process.c.id == recipient.c.process))
_DEAD = union(select(process.c.id).where(_STALE), _OF_NOBODY)
_OF_THE_DEAD = recipient.c.process.in_(bindparam("dead", expanding=True))
_END = (
    update(recipient)
    .where(
        recipient.c.id.in_(
            select(recipient.c.id).where(_OF_THE_DEAD).limit(bindparam("most")).with_for_update(skip_locked=True)
        )
    )
    .values(process=None)
)
_END_ALL = update(recipient).where(_OF_THE_DEAD).values(process=None)
_FORGET = delete(process).where(process.c.id.in_(bindparam("dead", expanding=True)))


@dataclass(frozen=True, slots=True)
class _Life:
    """`number` is our row's; the heart has beaten without a gap since `since`, last at `last` (by the store's clock)."""

    number: int
    since: float
    last: float


class Processes:
    """The rows of `process` in `database`.

    `name` is ours, which nobody else has; `lives` tells of a gateway's name whether it runs, as far as this machine can know.
    `register` comes before all else.
    """

    def __init__(self, database: Database, name: ProcessName, lives: Callable[[str], bool]) -> None:
        self._database = database
        self._name = name
        self._lives = lives
        self._life = _Life(0, 0.0, 0.0)
        self._beaten_at: float | None = None  # by the database's clock; None: lock files tell who lives
        self._beating = DeferredLock()  # two at once, whose row is gone, would enter two

    @property
    def number(self) -> int:
        """Ours, which our leases bear."""
        return self._life.number

    async def register(self) -> None:
        """End the leases of our earlier lives and of those who do not live, and take a number. Raises Unavailable.

        The caller holds the lock file of its state directory.
        """
        self._life = await self._database.write(self._begin_life)

    async def bury(self, worker: int) -> None:
        """End the leases of a worker of ours that is dead, and not started again before this is done. Raises Unavailable."""
        name = str(ProcessName(self._name.gateway, worker))

        def end(connection: Connection) -> None:
            dead = connection.execute(select(process.c.id).where(process.c.name == name)).scalars().all()
            connection.execute(_END_ALL, {"dead": dead})
            connection.execute(_FORGET, {"dead": dead})

        await self._database.write(end)

    async def leasing(self) -> int:
        """Our number, after a beat if there was none for so long that others may take us for dead. Raises Unavailable."""
        if self._is_quiet:
            async with self._beating:
                if self._is_quiet:  # nobody has beaten while we waited
                    await self._beat()
        return self.number

    @property
    def _is_quiet(self) -> bool:
        return self._beaten_at is not None and self._database.clock() - self._beaten_at > QUIET

    async def beat(self) -> None:
        """Say that we live, and end the leases of the dead. For stores that machines share. Raises Unavailable."""
        ended = STEP
        while ended == STEP:
            async with self._beating:
                ended = await self._beat()

    async def _beat(self) -> int:
        """How many leases were ended."""
        number, at = self.number, self._database.clock()
        self._life, dead, ended = await self._database.write(self._live_on)
        self._beaten_at = at
        if self.number != number:
            maillog.taken_for_dead()
        if ended:
            maillog.taken_over(len(dead), ended)
        return ended

    # In the writer's thread

    def _begin_life(self, connection: Connection) -> _Life:
        rows = connection.execute(select(process.c.id, process.c.name)).all()
        names = [(row.id, read(row.name)) for row in rows]
        ended = [id_ for id_, name in names if self._name.covers(name) or not self._lives(name.gateway)]
        connection.execute(_END_ALL, {"dead": [*ended, *connection.execute(_OF_NOBODY).scalars()]})
        connection.execute(_FORGET, {"dead": ended})
        return self._enter(connection)

    def _enter(self, connection: Connection) -> _Life:
        number, at = connection.execute(_ENTER, {"name": str(self._name)}).one()
        return _Life(number, at, at)

    def _live_on(self, connection: Connection) -> tuple[_Life, Collection[int], int]:
        life = self._beaten(connection)
        dead = connection.execute(_DEAD).scalars().all() if life.last - life.since >= DEAD_AFTER else []
        ended = connection.execute(_END, {"dead": dead, "most": STEP}).rowcount if dead else 0
        if dead and ended < STEP:
            connection.execute(_FORGET.where(_STALE), {"dead": dead})
        return life, dead, ended

    def _beaten(self, connection: Connection) -> _Life:
        at = connection.execute(_BEAT, {"us": self.number}).scalar()
        if at is None:
            return self._enter(connection)
        before = self._life
        return _Life(before.number, before.since if 0 <= at - before.last <= GAP else at, at)
