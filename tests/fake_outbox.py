"""Outbox in memory, with its resend guard and its charges. The contract tests keep it true to the store's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.errors import Unavailable
from gateway.queue.allowance import Denied
from gateway.queue.model import (
    MAX_BLIND_REPORTS,
    Added,
    Duplicate,
    Field,
    Hold,
    More,
    NewMessage,
    QueueCounts,
    Queued,
    QueuedMessage,
    Recipient,
    Record,
    Recorded,
    Spooled,
    State,
)
from gateway.store.resends import SPOILT, WITHIN
from tests.fake_usage import FakeUsage

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
        self.resends: dict[str, str] = {}  # resend keys, to the message that was queued
        self.usage = FakeUsage(lambda: self.now)

    async def add(self, message: NewMessage, *, lease: bool) -> Added:
        self._check()
        if message.id in self.messages:
            raise Unavailable("a message with this id is there already")
        first = self._first(message.resend_key)
        if first is not None:
            return Duplicate(first)
        standing = None
        if message.terms is not None:
            charged = self.usage.charge(message, message.terms)
            if isinstance(charged, Denied):
                return charged
            standing = charged
        if message.resend_key:
            self.resends[message.resend_key] = message.id
        return Queued(self._insert(message, lease=lease), standing)

    def _first(self, resend_key: str) -> str | None:
        """The message that the same submission has made, while it stands for it."""
        first = self.resends.get(resend_key)
        if first is None or self.now - self.accepted[first] >= WITHIN:
            return None
        return None if any(row.message_id == first and row.state in SPOILT for row in self.rows.values()) else first

    def sent_lately(self) -> set[tuple[str, str, str]]:
        """Account, sender and recipient of the messages that may be known again."""
        lately = [self.messages[id_] for id_ in self.resends.values() if self.now - self.accepted[id_] < WITHIN]
        return {(one.account_id, one.envelope.sender, to.address) for one in lately for to in one.recipients}

    def _insert(self, message: NewMessage, *, lease: bool) -> QueuedMessage:
        self.messages[message.id] = message
        self.accepted[message.id] = self.now
        for new in message.recipients:
            id_ = len(self.rows) + 1
            recipient = Recipient(id_, new.address, new.field, new.notify, new.orcpt, 0, False)
            self.rows[id_] = FakeRow(recipient, message.id, State.QUEUED, self.now, lease)
        return self._queued(message.id, [row for row in self.rows.values() if row.message_id == message.id] if lease else [])

    async def disown(self, message_id: str) -> None:
        self._check()
        for row in self.rows.values():
            row.lease = row.lease and row.message_id != message_id

    async def take(self, limit: int) -> list[QueuedMessage]:
        self._check()
        return self._lease([row for row in self._free() if row.due <= self.now], limit)

    async def overdue(self, limit: int, *, warn_after: float, give_up: float) -> list[QueuedMessage]:
        self._check()
        due = [row for row in self._free() if row.due <= self.now]
        ages = {row.recipient.id: self.now - self.accepted[row.message_id] for row in due}
        late = [
            row
            for row in due
            if ages[row.recipient.id] >= (give_up if row.recipient.delay_warned else min(warn_after, give_up))
        ]
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

    async def record(self, records: Sequence[Record], reports: Sequence[NewMessage], more: More | None = None) -> Recorded:
        self._check()
        ours = [record for record in records if self._is_ours(record.outcome.recipient)]
        for record in ours:
            self._settle(record)
        self.records += ours
        queued = wanted = list(reports) if ours or not records else []
        ids = {self.rows[record.outcome.recipient.id].message_id for record in ours}
        if len(ours) == 1 and ours[0].outcome.recipient.field is Field.BCC and ours[0].state is State.FAILED:
            queued = queued if self._failed_blind(*ids) <= MAX_BLIND_REPORTS else []
        late = frozenset(record.outcome.recipient.id for record in records if record not in ours)
        before = set(self.dropped)
        bodies = self._drop(ids)
        excess = max((self._failed_blind(id_) - MAX_BLIND_REPORTS for id_ in self.dropped - before), default=0)
        for report in [*queued, more(excess)] if more is not None and excess > 0 else queued:
            self._insert(report, lease=False)
        unsent = tuple(report for report in wanted if report not in queued)
        return Recorded(bodies, late, unsent, max(0, excess) if more is not None else 0)

    def _failed_blind(self, message_id: str) -> int:
        rows = [row for row in self.rows.values() if row.message_id == message_id and row.state is State.FAILED]
        heard = [row.recipient for row in rows if not row.recipient.notify or "FAILURE" in row.recipient.notify]
        return sum(one.field is Field.BCC for one in heard)

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
