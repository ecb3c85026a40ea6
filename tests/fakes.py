"""The ports of queue and sign-in in memory, for tests of what uses them; the contract tests keep them true to the real ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from gateway.accounts import lockout
from gateway.accounts.lockout import Attempt, Charge, Scope, Sheet, SheetKey
from gateway.config import Lockout
from gateway.errors import Unavailable
from gateway.queue.model import (
    BodyRef,
    Hold,
    Inline,
    NewMessage,
    QueueCounts,
    QueuedMessage,
    Recipient,
    Record,
    Spooled,
    State,
)
from gateway.queue.ports import BodyReader, BodyWriter

UNFINISHED = (State.QUEUED, State.HELD)


@dataclass(slots=True)
class FakeRow:
    """A recipient's row: `due` and `lease` as in table recipient."""

    recipient: Recipient
    message_id: str
    state: State
    due: float
    lease: bool
    hold: Hold = Hold.NONE


class FakeOutbox:
    """Outbox. `now` is its clock, in seconds; `fail_with` makes every call fail with it, nothing done."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.fail_with: Unavailable | None = None
        self.rows: dict[int, FakeRow] = {}
        self.messages: dict[str, NewMessage] = {}
        self.accepted: dict[str, float] = {}
        self.records: list[Record] = []  # those that took effect
        self.dropped: set[str] = set()  # messages whose body is gone

    async def add(self, message: NewMessage, *, lease: bool) -> QueuedMessage:
        self._check()
        if message.id in self.messages:
            raise Unavailable("a message with this id is there already")
        self.messages[message.id] = message
        self.accepted[message.id] = self.now
        for new in message.recipients:
            id_ = len(self.rows) + 1
            recipient = Recipient(id_, new.address, new.field, new.notify, new.orcpt, 0, False)
            self.rows[id_] = FakeRow(recipient, message.id, State.QUEUED, self.now, lease)
        return self._queued(message.id, [row for row in self.rows.values() if row.message_id == message.id] if lease else [])

    async def take(self, limit: int) -> list[QueuedMessage]:
        self._check()
        return self._lease([row for row in self._free() if row.due <= self.now], limit)

    async def overdue(self, limit: int, *, warn_after: float, give_up: float) -> list[QueuedMessage]:
        self._check()
        due = [row for row in self._free() if row.due <= self.now]
        ages = {row.recipient.id: self.now - self.accepted[row.message_id] for row in due}
        late = [row for row in due if ages[row.recipient.id] >= (give_up if row.recipient.delay_warned else warn_after)]
        return self._lease([row for row in due if row.message_id in {other.message_id for other in late}], limit)

    def _lease(self, due: list[FakeRow], limit: int) -> list[QueuedMessage]:
        due.sort(key=lambda row: (row.due, row.recipient.id))
        taken = []
        for message_id in list(dict.fromkeys(row.message_id for row in due))[:limit]:
            rows = sorted((row for row in due if row.message_id == message_id), key=lambda row: row.recipient.id)
            for row in rows:
                row.lease = True
            taken.append(self._queued(message_id, rows))
        return taken

    async def record(self, records: Sequence[Record], reports: Sequence[NewMessage]) -> list[Spooled]:
        self._check()
        ours = [record for record in records if self._is_ours(record.outcome.recipient)]
        for record in ours:
            self._settle(record)
        self.records += ours
        if ours or not records:
            for report in reports:
                await self.add(report, lease=False)
        return self._drop({self.rows[record.outcome.recipient.id].message_id for record in ours})

    async def release(self, recipients: Sequence[Recipient]) -> None:
        self._check()
        for recipient in recipients:
            self.rows[recipient.id].lease = False

    async def still_ours(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        self._check()
        return [recipient for recipient in recipients if self._may_go(recipient)]

    async def hold_back(self, recipients: Sequence[Recipient]) -> int:
        self._check()
        ours = [self.rows[recipient.id] for recipient in recipients if self._is_ours(recipient)]
        for row in ours:
            row.hold = row.hold if row.state is State.HELD else Hold.ACCOUNT
            row.state, row.lease = State.HELD, False
        return len(ours)

    async def held_accounts(self) -> set[str]:
        self._check()
        return {self.messages[row.message_id].account_id for row in self.rows.values() if self._is_held_back(row)}

    async def let_go(self, account_id: str, limit: int) -> int:
        self._check()
        held = [row for row in self.rows.values() if self._is_held_back(row)]
        chosen = [row for row in held if self.messages[row.message_id].account_id == account_id][:limit]
        for row in chosen:
            row.state, row.hold, row.due = State.QUEUED, Hold.NONE, self.now
        return len(chosen)

    async def next_due(self) -> float | None:
        self._check()
        return min((row.due - self.now for row in self._free()), default=None)

    async def counts(self) -> QueueCounts:
        self._check()
        queued = [row for row in self.rows.values() if row.state is State.QUEUED]
        free = [row for row in queued if not row.lease]
        tried = sum(row.recipient.attempts > 0 for row in free)
        held = sum(row.state is State.HELD for row in self.rows.values())
        oldest = max((self.now - self.accepted[row.message_id] for row in queued), default=0.0)
        return QueueCounts(len(free) - tried, tried, len(queued) - len(free), held, oldest)

    def delete(self, recipient_id: int) -> None:
        """As an operator does."""
        row = self.rows[recipient_id]
        row.state, row.lease = State.DELETED, False

    def hold(self, recipient_id: int) -> None:
        """As an operator does."""
        row = self.rows[recipient_id]
        row.state, row.hold = State.HELD, Hold.OPERATOR

    def release_held(self, recipient_id: int) -> None:
        """As an operator does."""
        row = self.rows[recipient_id]
        released = row.hold is Hold.ACCOUNT
        row.state, row.hold, row.due = State.QUEUED, Hold.RELEASED if released else Hold.NONE, self.now
        row.recipient = replace(row.recipient, released=released)

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _free(self) -> list[FakeRow]:
        return [row for row in self.rows.values() if row.state is State.QUEUED and not row.lease]

    def _is_ours(self, recipient: Recipient) -> bool:
        row = self.rows.get(recipient.id)
        return row is not None and row.lease

    def _may_go(self, recipient: Recipient) -> bool:
        return self._is_ours(recipient) and self.rows[recipient.id].state is State.QUEUED

    @staticmethod
    def _is_held_back(row: FakeRow) -> bool:
        return row.state is State.HELD and row.hold is Hold.ACCOUNT

    def _settle(self, record: Record) -> None:
        row = self.rows[record.outcome.recipient.id]
        stays = row.state is State.HELD and record.state is State.QUEUED
        row.state, row.lease, row.due = State.HELD if stays else record.state, False, self.now + record.delay
        row.recipient = replace(
            row.recipient,
            attempts=row.recipient.attempts + record.outcome.burns_attempt,
            delay_warned=row.recipient.delay_warned or record.delay_warned,
        )

    def _drop(self, message_ids: set[str]) -> list[Spooled]:
        waited_for = {row.message_id for row in self.rows.values() if row.state in UNFINISHED}
        done = sorted(message_ids - waited_for - self.dropped)
        self.dropped.update(done)
        return [body for id_ in done if isinstance(body := self.messages[id_].body, Spooled)]

    def _queued(self, message_id: str, rows: Sequence[FakeRow]) -> QueuedMessage:
        new = self.messages[message_id]
        age = self.now - self.accepted[message_id]
        return QueuedMessage(
            new.id, new.account_id, new.envelope, new.header, new.body, age, tuple(row.recipient for row in rows)
        )


class FakeSenderStatus:
    """SenderStatus. Accounts in `gone` are disabled; `asked` has each question; `fail_with` makes every call fail with it."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.asked: list[set[str]] = []
        self.fail_with: Exception | None = None
        self.gate: Deferred[None] | None = None  # holds up the answer

    async def disabled(self, account_ids: Collection[str]) -> set[str]:
        self.asked.append(set(account_ids))
        if self.gate is not None:
            await self.gate
        if self.fail_with is not None:
            raise self.fail_with
        return self.gone & set(account_ids)


class FakeBodies:
    """Bodies. `fail_with` makes what writes or reads fail with it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # the finished ones
        self.growing: dict[str, bytearray] = {}
        self.fail_with: Unavailable | None = None

    async def create(self, name: str) -> BodyWriter:
        self.check()
        if name in self.growing:
            raise Unavailable("a body of this name is there already")
        self.growing[name] = bytearray()
        return _FakeWriter(self, name)

    async def open(self, body: BodyRef) -> BodyReader:
        if isinstance(body, Inline):
            return _FakeReader(body.data)
        self.check()
        if body.name not in self.files:
            raise Unavailable("no such body")
        return _FakeReader(self.files[body.name])

    async def remove(self, body: Spooled) -> None:
        self.files.pop(body.name, None)

    def check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class _FakeWriter:
    def __init__(self, bodies: FakeBodies, name: str) -> None:
        self._bodies = bodies
        self._name = name

    async def write(self, data: bytes) -> None:
        self._bodies.check()
        self._bodies.growing[self._name] += data

    async def finish(self) -> Spooled:
        self._bodies.check()
        data = bytes(self._bodies.growing.pop(self._name))
        self._bodies.files[self._name] = data
        return Spooled(self._name, len(data))

    async def discard(self) -> None:
        self._bodies.growing.pop(self._name, None)


class _FakeReader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        block, self._data = self._data[: 256 * 1024], self._data[256 * 1024 :]
        return block

    def close(self) -> None:
        self._data = b""


@dataclass(slots=True)
class FakeFailure:
    """A row of table failure."""

    charge: Charge
    at: float
    confirmed: bool = False


class FakeLockoutBook:
    """LockoutBook. `now` is its clock, in seconds; `fail_with` makes every call fail with it, nothing done."""

    def __init__(self, rules: Lockout, hash_wait: float = 5.0) -> None:
        self.rules = rules
        self.hash_wait = hash_wait
        self.now = 1_000_000.0
        self.fail_with: Unavailable | None = None
        self.failures: dict[int, FakeFailure] = {}
        self.locks: list[tuple[SheetKey, float, float]] = []  # made, until
        self.seen: dict[tuple[str, str], float] = {}
        self._charges = 0

    async def look(self, attempt: Attempt) -> Sheet:
        self._check()
        locks = {key: until - self.now for key, _, until in self.locks if until > self.now}
        seen = self.seen.get((attempt.subject, attempt.trust_network))
        since = None if seen is None else self.now - seen
        failing = any(self._is_of_pair(row.charge.attempt, attempt) for row in self.failures.values())
        return lockout.judge(self.rules, attempt, locks, seen=since, has_failures=failing)

    async def charge(self, attempt: Attempt) -> Charge:
        sheet = await self.look(attempt)
        if sheet.locked is not None:
            return Charge(attempt, sheet.known, locked=sheet.locked, scope=sheet.scope)
        scopes = lockout.scopes(self.rules, attempt, known=sheet.known)
        for scope in scopes:
            others = self._counted(scope, attempt, charges=True) - {_what(scope, attempt)}
            if len(others) >= lockout.limit(self.rules, scope):
                return Charge(attempt, sheet.known, locked=lockout.charge_life(self.hash_wait), scope=scope)
        if not scopes:
            return Charge(attempt, sheet.known)
        self._charges += 1
        charge = Charge(attempt, sheet.known, self._charges)
        self.failures[self._charges] = FakeFailure(charge, self.now)
        return charge

    async def fail(self, charge: Charge) -> None:
        self._check()
        if charge.id not in self.failures:
            return
        self.failures[charge.id].confirmed = True
        for scope in lockout.scopes(self.rules, charge.attempt, known=charge.known):
            if len(self._counted(scope, charge.attempt, charges=False)) >= lockout.limit(self.rules, scope):
                self._lock(lockout.sheet_key(scope, charge.attempt))

    async def refund(self, charge: Charge) -> None:
        self._check()
        if charge.id is not None:
            self.failures.pop(charge.id, None)

    async def succeed(self, attempt: Attempt, charge: Charge | None) -> None:
        self._check()
        own = charge.id if charge else None
        running = {id_ for id_, row in self.failures.items() if not row.confirmed and self._is_live(row) and id_ != own}
        pair = {id_ for id_, row in self.failures.items() if self._is_of_pair(row.charge.attempt, attempt)}
        for id_ in pair - running:
            del self.failures[id_]
        self.locks = [lock for lock in self.locks if (lock[0].subject, lock[0].network) != (attempt.subject, attempt.network)]
        known = (attempt.subject, attempt.trust_network)
        seen = self.seen.get(known)
        if lockout.is_to_be_refreshed(self.rules, None if seen is None else self.now - seen):
            self.seen[known] = self.now
        ours = sorted((key for key in self.seen if key[0] == attempt.subject), key=lambda key: -self.seen[key])
        for key in ours[lockout.KNOWN_NETWORKS :]:
            del self.seen[key]

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _counted(self, scope: Scope, attempt: Attempt, *, charges: bool) -> set[object]:
        key = lockout.sheet_key(scope, attempt)
        made = max((made for other, made, _ in self.locks if other == key), default=0.0)
        since = max(made, self.now - lockout.window(self.rules, scope))
        rows = [row for row in self.failures.values() if row.at > since and (row.confirmed or (charges and self._is_live(row)))]
        return {
            _what(scope, row.charge.attempt)
            for row in rows
            if lockout.sheet_key(scope, row.charge.attempt) == key and (scope is Scope.ACCOUNT_NETWORK or not row.charge.known)
        }

    def _is_live(self, row: FakeFailure) -> bool:
        return row.at > self.now - lockout.charge_life(self.hash_wait)

    def _lock(self, key: SheetKey) -> None:
        earlier = sum(other == key and made > self.now - lockout.DAY for other, made, _ in self.locks)
        self.locks.append((key, self.now, self.now + lockout.lock_seconds(self.rules, earlier)))

    @staticmethod
    def _is_of_pair(one: Attempt, other: Attempt) -> bool:
        return (one.subject, one.network) == (other.subject, other.network)


def _what(scope: Scope, attempt: Attempt) -> object:
    """What a sheet counts different ones of."""
    return attempt.subject if scope is Scope.NETWORK else attempt.fingerprint
