"""What follows from the outcomes of a transaction: they are written down, reported to the sender, counted and logged."""

from collections.abc import Mapping, Sequence
from functools import cache

from gateway import maillog
from gateway.errors import Unavailable
from gateway.message.report import Action
from gateway.metrics import Metrics
from gateway.queue.insist import Insist
from gateway.queue.model import NewMessage, Outcome, QueuedMessage, Record, Recorded, Result, State
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
        for body in recorded.bodies:
            await self._bodies.remove(body)
        self._tell(message, age, [record for record in records if record.outcome.recipient.id not in recorded.late])

    # Writing

    async def _write_down(self, message: QueuedMessage, age: float, records: Sequence[Record], left: float) -> Recorded:
        told = _told(records)
        if not told:
            return await self._insist.until_done(_DOING, lambda: self._outbox.record(records, ()))
        reports: list[NewMessage] | None = None  # written once: a large one is a file, and there may be many tries

        async def write() -> Recorded:
            nonlocal reports
            reports = await self._reports(message, age, told, left) if reports is None else reports
            return await self._outbox.record(records, reports)

        return await self._insist.until_done(_DOING, write)

    async def _reports(
        self, message: QueuedMessage, age: float, told: Mapping[Action, Sequence[Outcome]], left: float
    ) -> list[NewMessage]:
        reports = {}
        for action, outcomes in told.items():
            report = await self._reporter.write(action, message, age, outcomes, retry_for=left)
            if report is not None:
                reports[action] = report
        for action in reports:
            self._metrics.reports_total.labels(action.value).inc()
        return list(reports.values())

    # Telling

    def _tell(self, message: QueuedMessage, age: float, records: Sequence[Record]) -> None:
        for record in records:
            result = _counted(record)
            self._counter_of(result).inc()
            if record.state is State.DELIVERED:
                self._metrics.delivery_delay_seconds.observe(age)
            _log(result, message, record)


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
