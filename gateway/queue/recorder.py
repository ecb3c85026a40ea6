"""What follows from the outcomes of a transaction: they are written down, reported to the sender, counted and logged."""

from collections.abc import Mapping, Sequence
from functools import cache

from gateway import maillog
from gateway.errors import Unavailable
from gateway.message.report import Action
from gateway.metrics import Metrics
from gateway.queue.insist import Insist
from gateway.queue.model import (
    MAX_BLIND_REPORTS,
    NewMessage,
    Outcome,
    QueuedMessage,
    Record,
    Recorded,
    Result,
    Spooled,
    State,
)
from gateway.queue.ports import Bodies, Outbox
from gateway.queue.reports import Reporter, wants
from gateway.queue.schedule import Schedule

UNREACHABLE_PAUSE = 5.0  # seconds until a recipient may be tried again that no hop could be reached for
_DOING = "recording a delivery"


class Recorder:
    """`insist` keeps what the store refuses, and says when we stop."""

    def __init__(self, outbox: Outbox, bodies: Bodies, reporter: Reporter, insist: Insist, metrics: Metrics) -> None:
        self._outbox = outbox
        self._bodies = bodies
        self._reporter = reporter
        self._insist = insist
        self._metrics = metrics
        self._counter_of = cache(metrics.deliveries_total.labels)

    async def settle(self, message: QueuedMessage, age: float, outcomes: Sequence[Outcome], schedule: Schedule) -> None:
        """Write outcomes down, and do what follows; `age` of the message in seconds. Raises Unavailable: we stop."""
        records = [_record_of(outcome, age, schedule) for outcome in outcomes]
        try:
            recorded = await self._write_down(message, age, records, max(0.0, schedule.give_up - age))
        except Unavailable as away:
            maillog.outcomes_lost(message.id, len(records), str(away))
            raise
        for body in (*recorded.bodies, *(report.body for report in recorded.unsent)):
            if isinstance(body, Spooled):
                await self._bodies.remove(body)
        self._tell(message, age, [record for record in records if record.outcome.recipient.id not in recorded.late])

    # Writing

    async def _write_down(self, message: QueuedMessage, age: float, records: Sequence[Record], left: float) -> Recorded:
        told = _told(records)
        more = await self._reporter.more(message, age) if _may_be_the_end(message, records) else None
        if not told:
            recorded = await self._insist.until_done(_DOING, lambda: self._outbox.record(records, (), more))
            self._count_reports({}, recorded)
            return recorded
        reports: dict[Action, NewMessage] | None = None  # written once: a large one is a file, and there may be many tries

        async def write() -> Recorded:
            nonlocal reports
            reports = await self._reports(message, age, told, left) if reports is None else reports
            return await self._outbox.record(records, list(reports.values()), more)

        recorded = await self._insist.until_done(_DOING, write)
        self._count_reports(reports or {}, recorded)
        return recorded

    async def _reports(
        self, message: QueuedMessage, age: float, told: Mapping[Action, Sequence[Outcome]], left: float
    ) -> dict[Action, NewMessage]:
        reports = {}
        for action, outcomes in told.items():
            report = await self._reporter.write(action, message, age, outcomes, retry_for=left)
            if report is not None:
                reports[action] = report
        return reports

    def _count_reports(self, reports: Mapping[Action, NewMessage], recorded: Recorded) -> None:
        queued = [action for action, report in reports.items() if report not in recorded.unsent]
        for action in [*queued, Action.FAILED] if recorded.more else queued:
            self._metrics.reports_total.labels(action.value).inc()

    # Telling

    def _tell(self, message: QueuedMessage, age: float, records: Sequence[Record]) -> None:
        for record in records:
            result = _counted(record)
            self._counter_of(result).inc()
            if record.state is State.DELIVERED:
                self._metrics.delivery_delay_seconds.observe(age)
            _log(result, message, record)


def _may_be_the_end(message: QueuedMessage, records: Sequence[Record]) -> bool:
    """Whether the message may be done now and have had more blind recipients than get a report each: seldom.

    A message straight from its acceptance (age 0) has all of its recipients at hand.
    """
    if len(message.recipients) <= MAX_BLIND_REPORTS and message.age == 0.0:
        return False
    return any(record.state is not State.QUEUED for record in records)


def _record_of(outcome: Outcome, age: float, schedule: Schedule) -> Record:
    """What follows from an outcome: delivered, failed, or when to try again."""
    if outcome.result is Result.DELIVERED:
        return Record(outcome, State.DELIVERED)
    if outcome.result is Result.FAILED:
        return Record(outcome, State.FAILED)
    pause = schedule.next_attempt(outcome.recipient.attempts + 1, age)
    if pause is None:
        return Record(outcome, State.FAILED)
    if not outcome.burns_attempt:
        pause = min(pause, UNREACHABLE_PAUSE)
    return Record(outcome, State.QUEUED, pause, schedule.delay_due(age, outcome.recipient.delay_warned))


def _told(records: Sequence[Record]) -> dict[Action, list[Outcome]]:
    """What senders want to hear; nothing, most of the time."""
    told: dict[Action, list[Outcome]] = {}
    for record in records:
        action = _action(record)
        if action is not None and wants(action, record.outcome.recipient):
            told.setdefault(action, []).append(record.outcome)
    return told


def _action(record: Record) -> Action | None:
    outcome = record.outcome
    if record.state is State.DELIVERED:
        return None if outcome.relayed_dsn else Action.DELIVERED if outcome.final else Action.RELAYED
    if record.state is State.FAILED:
        return Action.FAILED
    return Action.DELAYED if record.delay_warned else None


def _log(result: str, message: QueuedMessage, record: Record) -> None:
    outcome, recipient = record.outcome, record.outcome.recipient
    maillog.outcome(
        result,
        queue_id=message.id,
        account=message.account_id,
        recipient=recipient.id,
        field=recipient.field.value,
        hop=outcome.hop,
        reply=f"{outcome.code} {outcome.enhanced}".strip(),
        text=maillog.peer_text(outcome.text),
        retry_in=round(record.delay) if record.state is State.QUEUED else None,
    )


def _counted(record: Record) -> str:
    """The label of deliveries_total: delivered, retry, failed, expired, unreachable, unconfirmed."""
    if record.state is State.QUEUED and record.outcome.unconfirmed:
        return "unconfirmed"
    if record.state is State.QUEUED:
        return "retry" if record.outcome.burns_attempt else "unreachable"
    if record.state is State.FAILED and record.outcome.result is Result.RETRY:
        return "expired"
    return record.outcome.result.value
