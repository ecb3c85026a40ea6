"""The sheets of failed sign-ins that all processes share. Implements `gateway.accounts.ports.LockoutBook`.

Theory of operation. `look` only reads, and those who wait share a read that starts after they came. What counts is
`charge`: it looks again and counts in the writer's transaction, where nobody else charges, in other processes neither
(SQLite's BEGIN IMMEDIATE, a lock on PostgreSQL), and puts its own row down before it admits. So however many guess at once,
no sheet ever holds more than its limit.
"""

from collections.abc import Collection

from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from gateway import maillog
from gateway.accounts.lockout import DAY, Attempt, Charge, Scope, Sheet, account_id, charge_life, credential_id, sheet_key
from gateway.config import Lockout
from gateway.metrics import Metrics
from gateway.store import sheets
from gateway.store.database import Database
from gateway.store.schema import failure, known_network, lockout

KEEP = 30 * DAY  # seconds until failures, locks and networks are swept


class SqlLockoutBook:
    """The sheets in `database`. `rules` and `hash_wait` (seconds) may be replaced at any time (reload)."""

    def __init__(self, database: Database, rules: Lockout, metrics: Metrics, *, hash_wait: float) -> None:
        self.rules = rules
        self.hash_wait = hash_wait
        self._database = database
        self._metrics = metrics
        self._sheets = database.shared(self._read)

    def look(self, attempt: Attempt) -> Deferred[Sheet]:
        return self._sheets.ask(attempt)

    def charge(self, attempt: Attempt) -> Deferred[Charge]:
        rules, life = self.rules, charge_life(self.hash_wait)
        return self._database.write(lambda connection: sheets.charge(connection, rules, attempt, life))

    async def fail(self, charge: Charge) -> None:
        rules = self.rules
        if charge.id is None:
            return
        for scope, seconds in await self._database.write(lambda connection: sheets.fail(connection, rules, charge)):
            self._metrics.lockouts_total.labels(scope.value).inc()
            key = sheet_key(scope, charge.attempt)
            maillog.locked_out(scope.value, account_id(key.subject), key.network, seconds, credential_id(key.subject))

    async def refund(self, charge: Charge) -> None:
        if charge.id is not None:
            own = charge.id
            await self._database.write(lambda connection: sheets.refund(connection, own))

    async def succeed(self, attempt: Attempt, charge: Charge | None) -> None:
        rules, life = self.rules, charge_life(self.hash_wait)
        own = charge.id if charge is not None else None
        await self._database.write(lambda connection: sheets.succeed(connection, rules, attempt, own, life))

    async def count_active(self) -> None:
        """Set the gauge of active locks. Raises Unavailable."""
        active = await self._database.read(lambda connection: [(row[0], row[1]) for row in connection.execute(sheets.ACTIVE)])
        counts = dict(active)
        for scope in Scope:
            self._metrics.lockouts_active.labels(scope.value).set(counts.get(scope.value, 0))

    def sweep(self, limit: int) -> Deferred[int]:
        """Delete at most `limit` rows of each table that are older than KEEP; how many there were. Raises Unavailable.

        In small steps, because a long one would hold up those who wait for their 250.
        """
        keep = {failure.c.at: KEEP, lockout.c.until: KEEP, known_network.c.seen: max(KEEP, self.rules.trust_for)}
        steps = [sheets.delete_oldest(column, seconds, limit) for column, seconds in keep.items()]
        return self._database.write(lambda connection: sum(connection.execute(step).rowcount for step in steps))

    def _read(self, connection: Connection, attempts: Collection[Attempt]) -> dict[Attempt, Sheet]:
        return sheets.look(connection, self.rules, attempts)
