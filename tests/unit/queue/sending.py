"""A runner over ports in memory, with a relay whose answers the test chooses."""

from collections.abc import Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.queue.allowance import Terms
from gateway.queue.lease import Lease
from gateway.queue.model import (
    Added,
    BodyRef,
    Envelope,
    Field,
    Inline,
    More,
    NewMessage,
    NewRecipient,
    Outcome,
    QueuedMessage,
    Recipient,
    Record,
    Recorded,
    Result,
    State,
)
from gateway.queue.reports import Reporter
from gateway.queue.runner import Runner
from gateway.queue.schedule import Schedule
from gateway.queue.senders import Senders
from tests.fakes import FakeBodies, FakeOutbox, FakeSenderStatus
from tests.unit.awaiting import value_of

SENDER = "demo@example.com"
HEADER = b"Subject: s\r\n\r\n"
TO, CC, BCC = Field.TO, Field.CC, Field.BCC


class CountingOutbox(FakeOutbox):
    """Goes by the test's clock and counts `takes`. `gate` holds up what is added, `looking` each look at what is due.

    `writes` has the number of outcomes in each write; `writing` holds them up, and one with recipient `poison` is our bug.
    So many times as `lost_answers` says, a message is added and the commit's result lost; from then on `away_after` holds.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._began = self.now
        self.takes = 0
        self.lost_answers = 0
        self.away_after: Unavailable | None = None
        self.gate: Deferred[None] | None = None
        self.looking: Deferred[None] | None = None
        self.writes: list[int] = []
        self.writing: Deferred[None] | None = None
        self.poison = 0

    @property
    def waiting(self) -> int:
        """Recipients that are not finished."""
        return sum(row.state is State.QUEUED for row in self.rows.values())

    def tick(self) -> None:
        self.now = self._began + self._clock.seconds()

    async def add(self, message: NewMessage, *, lease: bool) -> Added:
        self.tick()
        if self.gate is not None:
            await self.gate
        added = await super().add(message, lease=lease)
        if self.lost_answers:
            self.lost_answers -= 1
            self.fail_with = self.away_after
            raise Unavailable("the commit's result is unknown")
        return added

    async def take(self, limit: int) -> list[QueuedMessage]:
        self.tick()
        self.takes += 1
        return await super().take(limit)

    async def overdue(self, limit: int, *, warn_after: float, give_up: float) -> list[QueuedMessage]:
        self.tick()
        return await super().overdue(limit, warn_after=warn_after, give_up=give_up)

    async def record(self, records: Sequence[Record], reports: Sequence[NewMessage], more: More | None = None) -> Recorded:
        self.tick()
        self.writes.append(len(records))
        if self.writing is not None:
            await self.writing
        if any(record.outcome.recipient.id == self.poison for record in records):
            raise RuntimeError("a bug")
        return await super().record(records, reports, more)

    async def next_due(self) -> float | None:
        self.tick()
        if self.looking is not None:
            await self.looking
        return await super().next_due()


class ChosenRelay:
    """Relay. Gives `results` by address (else `usual`), or waits for `open` when `held`; `sent` has the transactions."""

    def __init__(self) -> None:
        self.usual = Result.DELIVERED
        self.results: dict[str, Result] = {}
        self.errors: list[Exception] = []
        self.burns = True
        self.final = False
        self.relayed_dsn = False
        self.unconfirmed = False
        self.most = 1_000_000  # recipients of a transaction
        self.confirms = False  # asks for the lease, once everything else is done
        self.room = 1_000_000
        self.held = False
        self.sent: list[tuple[QueuedMessage, list[str]]] = []
        self._waiting: list[Deferred[None]] = []

    async def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        self.sent.append((message, [recipient.address for recipient in recipients]))
        if self.held:
            gate: Deferred[None] = Deferred()
            self._waiting.append(gate)
            await gate
        if self.errors:
            raise self.errors.pop(0)
        if self.confirms:
            await lease.confirm()
        return [self._outcome(recipient) for recipient in recipients[: self.most]]

    def capacity(self) -> int:
        return self.room

    def open(self) -> None:
        """Let everything go on that waits here."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for gate in waiting:
            gate.callback(None)

    def _outcome(self, recipient: Recipient) -> Outcome:
        result = self.results.get(recipient.address, self.usual)
        code = {Result.DELIVERED: 250, Result.RETRY: 450, Result.FAILED: 550}[result]
        outcome = Outcome(recipient, result, code, "", "said so", "hop", "mx.example.net")
        return replace(
            outcome,
            burns_attempt=self.burns,
            final=self.final,
            relayed_dsn=self.relayed_dsn,
            unconfirmed=self.unconfirmed,
        )


class Sending:
    """The whole of it. Schedule: retries after 1 min, then every 10; a warning after 1 h; given up after a day."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.outbox = CountingOutbox(self.clock)
        self.bodies = FakeBodies()
        self.relay = ChosenRelay()
        self.registry = CollectorRegistry()
        self._ids = 0
        reporter = Reporter("gw.example", self.bodies, self._new_id, lambda: 1_700_000_000.0 + self.clock.seconds())
        schedule = Schedule((60.0, 600.0), 86400.0, 3600.0)
        self.status = FakeSenderStatus()
        self.senders = Senders(self.outbox, self.status, self.clock)
        self.runner = Runner(
            self.outbox, self.bodies, self.relay, self.senders, reporter, schedule, self.clock, Metrics(self.registry)
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"REPORT{self._ids:010}"

    def accept(
        self,
        *recipients: NewRecipient,
        id_: str = "M",
        account: str = "1",
        body: BodyRef | None = None,
        envelope: Envelope | None = None,
        terms: Terms | None = None,
        resend_key: str = "",
    ) -> Added:
        body = body or Inline(b"hello\r\n")
        all_ = recipients or (to("a@x.example"),)
        message = NewMessage(id_, account, envelope or Envelope(SENDER), HEADER, body, all_, terms, resend_key)
        return value_of(Deferred.fromCoroutine(self.runner.accept(message)))

    def begin_accept(self, id_: str) -> Deferred[Added]:
        message = NewMessage(id_, "1", Envelope(SENDER), HEADER, Inline(b"hello\r\n"), (to("a@x.example"),))
        return Deferred.fromCoroutine(self.runner.accept(message))

    def wait(self, seconds: float) -> None:
        """Time goes by in steps of a poll."""
        for _ in range(int(seconds)):
            self.clock.advance(1)

    def stop(self, patience: float = 15.0) -> Deferred[None]:
        return Deferred.fromCoroutine(self.runner.stop(patience))

    def states(self, id_: str = "M") -> list[State]:
        return [row.state for row in self.outbox.rows.values() if row.message_id == id_]

    @property
    def reports(self) -> list[NewMessage]:
        return [message for message in self.outbox.messages.values() if message.id.startswith("REPORT")]

    def text(self, report: NewMessage) -> bytes:
        body = report.body
        return report.header + (body.data if isinstance(body, Inline) else self.bodies.files[body.name])

    def subjects(self) -> list[str]:
        lines = [line for report in self.reports for line in report.header.decode().splitlines()]
        return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"smtp_gateway_{name}", labels)


def to(address: str, field: Field = TO, notify: str = "", orcpt: str = "") -> NewRecipient:
    return NewRecipient(address, field, notify, orcpt)
