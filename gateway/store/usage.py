"""What accounts have sent and what was refused them, day by day. Implements `gateway.queue.ports.Ledger`.

Theory of operation. What is sent is charged where it is queued (`gateway.store.charges`). A refusal is not worth a write of
its own, so refusals are counted in memory and written down every few seconds, together; a crash loses those of the last
seconds.
"""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT, too; not the other way round
from twisted.internet.defer import Deferred

from gateway.errors import Unavailable
from gateway.queue.allowance import DAY, Denied, Standing, Terms
from gateway.store import charges, resends
from gateway.store.clock import today
from gateway.store.database import Database
from gateway.store.schema import resend, suspension, usage_day
from gateway.store.sheets import delete_oldest

KEEP_DAYS = 800  # two years, and time to bill them
MAX_WAITING = 20_000  # refusals in memory, by account and day; while the store is away, what does not fit is not kept
_STEP = 500  # rows in one transaction
_ROWS_READ = 1000  # at once, of a month

_NEW_REFUSALS = insert(usage_day).values(messages=0, to_recipients=0, cc_recipients=0, bcc_recipients=0, bytes=0)
_REFUSE = _NEW_REFUSALS.on_conflict_do_update(
    index_elements=[usage_day.c.account_id, usage_day.c.day],
    set_={"refusals": usage_day.c.refusals + _NEW_REFUSALS.excluded.refusals},
)
_OF_ACCOUNT = (
    select(usage_day)
    .where(usage_day.c.account_id == bindparam("account"), usage_day.c.day > today() - bindparam("days"))
    .order_by(usage_day.c.day.desc())
)
_OF_MONTH = (
    select(usage_day)
    .where(usage_day.c.day.between(bindparam("first"), bindparam("last")))
    .order_by(usage_day.c.day, usage_day.c.account_id)
    .execution_options(yield_per=_ROWS_READ)
)
_KEY = (usage_day.c.account_id, usage_day.c.day)
_SWEEP = delete(usage_day).where(
    tuple_(*_KEY).in_(
        select(*_KEY)
        .where(usage_day.c.day < today() - KEEP_DAYS)
        .order_by(usage_day.c.day)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


@dataclass(frozen=True, slots=True)
class UsageDay:
    """A row of table usage_day. `day` in UTC, as days since 1970; `bytes` of header and body, once a message."""

    account_id: str
    day: int
    messages: int
    to_recipients: int
    cc_recipients: int
    bcc_recipients: int
    bytes: int
    refusals: int

    @property
    def recipients(self) -> int:
        return self.to_recipients + self.cc_recipients + self.bcc_recipients

    @property
    def date(self) -> datetime.date:
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=self.day)


class SqlLedger:
    """The books in `database`. `clock` gives the store's time, in seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._standings = database.shared(charges.standings)
        self._refusals: dict[tuple[str, int], int] = {}

    def standing(self, account_id: str) -> Deferred[Standing]:
        return self._standings.ask(account_id)

    def overstep(self, account_id: str, terms: Terms, recipients: int) -> Deferred[Denied | Standing]:
        return self._database.write(
            lambda connection: charges.overstep(connection, account_id, terms, recipients), order=account_id
        )

    def sent_lately(self, account_id: str, sender: str, recipient: str) -> Deferred[bool]:
        return self._database.read(lambda connection: resends.sent_lately(connection, account_id, sender, recipient))

    def refused(self, account_id: str) -> None:
        self._count((account_id, int(self._clock() // DAY)), 1)

    async def flush(self) -> None:
        """Write down the refusals counted. Raises Unavailable; they are then kept for the next time."""
        while step := dict(islice(self._refusals.items(), _STEP)):
            for key in step:
                del self._refusals[key]
            try:
                await self._write(step)
            except Unavailable:
                for key, count in step.items():
                    self._count(key, count)
                raise

    def sweep(self, limit: int) -> Deferred[int]:
        """Delete at most `limit` rows each of old usage, old suspensions and resends; how many there were. Raises Unavailable.

        In small steps, because a long one would hold up those who wait for their 250.
        """

        def step(connection: Connection) -> int:
            old = (
                delete_oldest(suspension.c.lifted, KEEP_DAYS * DAY, limit),
                delete_oldest(resend.c.at, resends.WITHIN, limit),
            )
            usage = connection.execute(_SWEEP, {"most": limit}).rowcount
            return usage + sum(connection.execute(one).rowcount for one in old)

        return self._database.write(step)

    def _count(self, key: tuple[str, int], more: int) -> None:
        if key in self._refusals or len(self._refusals) < MAX_WAITING:
            self._refusals[key] = self._refusals.get(key, 0) + more

    def _write(self, refusals: dict[tuple[str, int], int]) -> Deferred[None]:
        # In one order, so that two nodes that write the same rows do not wait for each other
        rows = [{"account_id": key[0], "day": key[1], "refusals": count} for key, count in sorted(refusals.items())]

        def write(connection: Connection) -> None:
            connection.execute(_REFUSE, rows)

        return self._database.write(write)


def standing_now(connection: Connection, account_id: str) -> Standing:
    """How the account stands."""
    return charges.standings(connection, [account_id])[account_id]


def usage_of(connection: Connection, account_id: str, days: int) -> list[UsageDay]:
    """The account's last `days` days, today's first; days without any use have no row."""
    rows = connection.execute(_OF_ACCOUNT, {"account": account_id, "days": days})
    return [UsageDay(**row._mapping) for row in rows]


def usage_of_month(connection: Connection, first_day: int, last_day: int) -> Iterator[UsageDay]:
    """What all accounts have used from `first_day` to `last_day`, by day and account, read a part at a time."""
    for row in connection.execute(_OF_MONTH, {"first": first_day, "last": last_day}):
        yield UsageDay(**row._mapping)
