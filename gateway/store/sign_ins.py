"""The history of sign-ins: how often each account was tried, from where and with which result, day by day.

Theory of operation. A write for each sign-in would cost more than the sign-in, so attempts are counted in memory and
written down every few seconds, together; a crash loses those of the last seconds. Only accounts and credentials have a
history, since anybody can make up logins; and a day of one has a bounded number of lines, after which further networks share
those of network "".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, text, tuple_, update
from twisted.internet.defer import Deferred

from gateway.accounts.lockout import DAY, account_id, credential_id
from gateway.errors import Unavailable
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.failures import Unfit
from gateway.store.schema import sign_in

KEEP = 30 * DAY  # seconds
LINES_A_DAY = 200  # of one account, before further networks share some
MAX_WAITING = 20_000  # lines in memory; while the store is away, what does not fit is not kept
_STEP = 500  # lines in one transaction
OTHERS = ""  # the network that stands for further ones

_KEY = ("subject", "day", "network", "mechanism", "result")
_ADD = text(
    "INSERT INTO sign_in (subject, day, network, mechanism, result, first, last, count)"
    " VALUES (:subject, :day, :network, :mechanism, :result, :first, :last, :count)"
    " ON CONFLICT (subject, day, network, mechanism, result) DO UPDATE"
    " SET last = excluded.last, count = sign_in.count + excluded.count"
)
_ADD_TO_LINE = (
    update(sign_in)
    .where(*(sign_in.c[name] == bindparam(f"b_{name}") for name in _KEY))
    .values(last=bindparam("b_last"), count=sign_in.c.count + bindparam("b_count"))
)
_FULL_DAYS = (
    select(sign_in.c.subject, sign_in.c.day)
    .where(tuple_(sign_in.c.subject, sign_in.c.day).in_(bindparam("days", expanding=True)))
    .group_by(sign_in.c.subject, sign_in.c.day)
    .having(func.count() >= LINES_A_DAY)
)
_RECENT = (
    select(*(sign_in.c[name] for name in ("network", "mechanism", "result")))
    .add_columns(
        (now() - func.min(sign_in.c.first)).label("first"),
        (now() - func.max(sign_in.c.last)).label("last"),
        func.sum(sign_in.c.count).label("count"),
    )
    .where(sign_in.c.subject == bindparam("subject"))
    .group_by(sign_in.c.network, sign_in.c.mechanism, sign_in.c.result)
    .order_by(func.max(sign_in.c.last).desc())
    .limit(bindparam("most"))
)
_SWEEP = delete(sign_in).where(
    tuple_(*(sign_in.c[name] for name in _KEY)).in_(
        select(*(sign_in.c[name] for name in _KEY))
        .where(sign_in.c.day < (now() - KEEP) / DAY - 1)  # its last second is older than KEEP
        .order_by(sign_in.c.day)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


@dataclass(frozen=True, slots=True)
class Line:
    """What came from one network of an account or a credential, over the days kept. `first` and `last` in seconds ago."""

    network: str
    mechanism: str
    result: str
    first: float
    last: float
    count: int


@dataclass(slots=True)
class _Counted:
    first: float
    last: float
    count: int


_Key = tuple[str, int, str, str, str]


class SqlSignInHistory:
    """Implements accounts.ports.SignInHistory. `clock` gives the store's time, in seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[_Key, _Counted] = {}

    def note(self, subject: str, network: str, mechanism: str, result: str) -> None:
        """See the port."""
        if account_id(subject) or credential_id(subject) is not None:
            at = self._clock()
            self._count((subject, int(at // DAY), network, mechanism, result), _Counted(at, at, 1))

    async def flush(self) -> None:
        """Write down what was counted. Raises Unavailable; it is then kept for the next time.

        A line that the store cannot hold is dropped, or it would keep all others from being written for ever. An account's id
        comes from the product's table, which may have another character set. It is found by halves.
        """
        # In an order that all processes keep, so that none waits for another that waits for it
        lines, self._waiting = sorted(self._waiting.items(), key=lambda line: line[0]), {}
        most = _STEP
        while lines:
            some = lines[:most]
            try:
                await self._write(some)
            except Unfit:
                if len(some) > 1:
                    most = len(some) // 2
                    continue
            except Unavailable:
                for key, counted in lines:
                    self._count(key, counted)
                raise
            del lines[: len(some)]
            most = min(_STEP, 2 * most)

    def sweep(self, limit: int) -> Deferred[int]:
        """Delete at most `limit` lines that are older than KEEP; how many there were. Raises Unavailable."""
        return self._database.write(lambda connection: connection.execute(_SWEEP, {"most": limit}).rowcount)

    def _count(self, key: _Key, more: _Counted) -> None:
        counted = self._waiting.get(key)
        if counted is not None:
            counted.first, counted.last = min(counted.first, more.first), max(counted.last, more.last)
            counted.count += more.count
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[key] = more

    def _write(self, lines: Iterable[tuple[_Key, _Counted]]) -> Deferred[None]:
        rows = [dict(zip(_KEY, key, strict=True), first=c.first, last=c.last, count=c.count) for key, c in lines]
        return self._database.write(lambda connection: _write(connection, rows))


def recent(connection: Connection, subject: str, limit: int) -> list[Line]:
    """What is kept of `subject`, the latest first, at most `limit` lines."""
    rows = connection.execute(_RECENT, {"subject": subject, "most": limit})
    return [Line(**row._mapping) for row in rows]


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    days = sorted({(row["subject"], row["day"]) for row in rows})
    full = {(subject, day) for subject, day in connection.execute(_FULL_DAYS, {"days": days})}
    fitting = [row for row in rows if (row["subject"], row["day"]) not in full]
    for row in rows:
        if (row["subject"], row["day"]) in full:
            there = connection.execute(_ADD_TO_LINE, {f"b_{name}": value for name, value in row.items()}).rowcount
            fitting += [] if there else [{**row, "network": OTHERS}]
    if fitting:
        connection.execute(_ADD, sorted(fitting, key=lambda row: [row[name] for name in _KEY]))
