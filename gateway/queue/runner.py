"""Takes what was accepted to its next hop, and writes down what became of it.

Theory of operation. A bounded window of messages and octets is under way at any time. A fresh message that
finds room is leased in the transaction that queues it and goes to the relay at once, without being read
back; one that finds none is only written, and read later by `_poll`, which takes what is due whenever there
is room. So memory does not grow with the queue, and a full disk queue never slows accepting (the idea is
Postfix's active queue, qmgr_active.c). Whatever the relay says is recorded before anything else is done with
it; when the store cannot take it, it is kept and offered again, and meanwhile nothing new is taken. An
outcome that dies with us is the one way in which we send twice.

What is read from the store has waited, so its sender is asked about first (`gateway.queue.senders`): mail of an account
that has been disabled meanwhile is held. A straight hand-over was asked about just before its 250.
"""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred

from gateway import maillog
from gateway.errors import Unavailable
from gateway.message.report import Action
from gateway.metrics import Metrics
from gateway.queue.model import (
    Added,
    NewMessage,
    Outcome,
    Queued,
    QueuedMessage,
    Recipient,
    Record,
    Result,
    Spooled,
    State,
    transactions,
)
from gateway.queue.ports import Bodies, Outbox, Relay
from gateway.queue.reports import Reporter
from gateway.queue.schedule import Schedule
from gateway.queue.senders import Senders

T = TypeVar("T")

WINDOW_MESSAGES = 500
MOST_AT_ONCE = 100  # messages in one look for due mail
WINDOW_OCTETS = 64 * 1024 * 1024  # of headers and inline bodies in memory
POLL = 1.0  # seconds between two looks for due mail, for what other processes and operators change
OVERDUE_EVERY = 15.0  # seconds between two looks for senders to warn while no hop can be reached
UNREACHABLE_PAUSE = 5.0  # seconds until a recipient may be tried again that no hop could be reached for
STORE_PAUSE = 1.0  # seconds before outcomes that the store refused are offered again


class Runner:
    """The queue's engine. `clock` is an IReactorTime; `schedule` may be replaced at any time (reload)."""

    def __init__(
        self,
        outbox: Outbox,
        bodies: Bodies,
        relay: Relay,
        senders: Senders,
        reporter: Reporter,
        schedule: Schedule,
        clock: Any,
        metrics: Metrics,
    ) -> None:
        self.relay = relay
        self.schedule = schedule
        self._outbox = outbox
        self._bodies = bodies
        self._senders = senders
        self._reporter = reporter
        self._clock = clock
        self._metrics = metrics
        self._messages = self._octets = 0  # under way
        self._store_refuses = False  # outcomes wait for the store: take nothing new meanwhile
        self._tasks: set[Deferred[None]] = set()
        self._overdue_at = 0.0  # when to look for overdue mail again
        self._next_poll: Any = None  # the IDelayedCall
        self._stopping = False
        self._all_done: Deferred[None] | None = None  # somebody waits for the last of the tasks

    # What others call

    async def accept(self, message: NewMessage) -> Added:
        """Queue a message; it is on its way when this returns, if there is room. See submission.Acceptance."""
        octets = _in_memory(message)
        if not self._has_room(octets) or self.relay.capacity() <= 1:
            return await self._outbox.add(message, lease=False)
        self._enter(octets)
        try:
            added = await self._outbox.add(message, lease=True)
        except BaseException as error:
            self._leave(octets)
            if isinstance(error, Unavailable):
                self._spawn(self._disown(message.id))
            raise
        if isinstance(added, Queued):
            self._spawn(self._deliver(added.message, octets))
        else:
            self._leave(octets)
        return added

    async def _disown(self, message_id: str) -> None:
        """The commit of `add` may have come through all the same: nobody delivers what is leased to us by it then."""
        try:
            await self._insist("freeing a message whose commit is unknown", lambda: self._outbox.disown(message_id))
        except Unavailable:
            return  # we stop: the next life frees the lease

    def start(self) -> None:
        """Begin to look for due mail."""
        self._poll_in(0.0)

    async def stop(self, patience: float) -> None:
        """Take nothing more, and wait at most `patience` seconds for what is under way."""
        self._stopping = True
        if self._next_poll is not None and self._next_poll.active():
            self._next_poll.cancel()
        self._all_done = done = Deferred[None]()
        limit = self._clock.callLater(patience, done.callback, None)  # not a cancel: that would forget outcomes
        self._look_whether_done()
        await done
        if limit.active():
            limit.cancel()

    def _look_whether_done(self) -> None:
        if self._all_done is not None and not self._tasks and not self._all_done.called:
            self._all_done.callback(None)

    # The window

    def _has_room(self, octets: int) -> bool:
        if self._stopping or self._store_refuses:
            return False
        return self._messages < WINDOW_MESSAGES and self._octets + octets <= WINDOW_OCTETS

    def _enter(self, octets: int) -> None:
        self._messages += 1
        self._octets += octets

    def _leave(self, octets: int) -> None:
        self._messages -= 1
        self._octets -= octets

    def _spawn(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        task = ensureDeferred(_reported(work))
        self._tasks.add(task)
        task.addCallback(lambda _: self._over(task))
        return task

    def _over(self, task: Deferred[None]) -> None:
        self._tasks.discard(task)
        self._look_whether_done()

    # Reading what is due

    def _poll_in(self, seconds: float) -> None:
        if not self._stopping:
            self._next_poll = self._clock.callLater(seconds, lambda: self._spawn(self._poll()))

    async def _poll(self) -> None:
        """Take what is due, as far as there is room and the relay can do with it; look again at once if there is more."""
        again = POLL
        try:
            room = min(MOST_AT_ONCE, WINDOW_MESSAGES - self._messages, self.relay.capacity())
            taken = await self._take(room) if self._has_room(0) else []
            going = await self._begin(taken)
            full = len(taken) == room > 0
            again = 0.0 if full and (room > 1 or not going) else POLL  # a hop that rests is asked by one that goes
        except Unavailable as away:
            maillog.store_unavailable("reading the queue", str(away))
        finally:
            self._poll_in(again)

    async def _take(self, room: int) -> list[QueuedMessage]:
        """What is due; while all hops rest, only that whose sender has to hear of it now."""
        if room > 0:
            due = await self._outbox.next_due()  # takes no lock: an idle queue holds up no writer
            is_due = due is not None and due <= 0
            return await self._outbox.take(room) if is_due and not self._stopping else []
        now = self._clock.seconds()
        if now < self._overdue_at:
            return []
        self._overdue_at = now + OVERDUE_EVERY
        warn_after = self.schedule.delay_warning or self.schedule.give_up
        return await self._outbox.overdue(MOST_AT_ONCE, warn_after=warn_after, give_up=self.schedule.give_up)

    async def _begin(self, taken: Sequence[QueuedMessage]) -> int:
        """Send what was taken on its way, but for what a disabled account has sent; how many messages go."""
        for message in taken:
            self._enter(_in_memory(message))
        disabled = await self._senders.disabled(message.account_id for message in taken)
        going = 0
        for message in taken:
            held = _to_be_held(message, disabled)
            going += len(held) < len(message.recipients)
            if held:
                self._spawn(self._hold_back(message, held))
            rest = tuple(one for one in message.recipients if one not in held)
            self._spawn(self._deliver(replace(message, recipients=rest), _in_memory(message)))
        return going

    async def _hold_back(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> None:
        try:
            held = await self._insist("holding mail back", lambda: self._outbox.hold_back(recipients))
        except Unavailable:
            return  # we stop: the next life frees the lease, and asks again
        maillog.held_back(message.id, message.account_id, held)

    # Delivering

    async def _deliver(self, message: QueuedMessage, octets: int) -> None:
        began = self._clock.seconds()
        await DeferredList(
            [self._spawn(self._deliver_group(message, began, group)) for group in transactions(message.recipients)]
        )
        self._leave(octets)

    async def _deliver_group(self, message: QueuedMessage, began: float, group: Sequence[Recipient]) -> None:
        outcomes = await self._attempt(message, group)
        age = message.age + self._clock.seconds() - began
        records = [self._record_of(outcome, age) for outcome in outcomes]
        try:
            bodies = await self._write_down(message, age, records)
        except Unavailable as away:  # we stop: the next life sends it again
            maillog.outcomes_lost(message.id, len(records), str(away))
            return
        for body in bodies:
            await self._bodies.remove(body)
        self._tell(message, age, records)

    async def _attempt(self, message: QueuedMessage, group: Sequence[Recipient]) -> list[Outcome]:
        """What the relay makes of it. Trouble of our own is a retry: nothing may stay under way for ever."""
        try:
            return await self.relay.deliver(message, group)
        except Unavailable as away:
            maillog.body_unavailable(message.id, str(away))
            problem = "The message cannot be read from disk"
        except Exception as error:
            maillog.bug("delivering", error)
            problem = "A problem on our side"
        return [Outcome(recipient, Result.RETRY, 0, "4.3.0", problem, "") for recipient in group]

    def _record_of(self, outcome: Outcome, age: float) -> Record:
        """What follows from an outcome: delivered, failed, or when to try again."""
        if outcome.result is Result.DELIVERED:
            return Record(outcome, State.DELIVERED)
        if outcome.result is Result.FAILED:
            return Record(outcome, State.FAILED)
        pause = self.schedule.next_attempt(outcome.recipient.attempts + 1, age)
        if pause is None:
            return Record(outcome, State.FAILED)
        if not outcome.burns_attempt:
            pause = min(pause, UNREACHABLE_PAUSE)
        warned = outcome.recipient.delay_warned
        return Record(outcome, State.QUEUED, pause, self.schedule.delay_due(age, warned))

    async def _write_down(self, message: QueuedMessage, age: float, records: Sequence[Record]) -> list[Spooled]:
        """Record outcomes and queue their reports; the bodies that are not needed any more. Raises Unavailable: we stop."""
        reports: list[NewMessage] | None = None  # written once: a large one is a file, and there may be many tries

        async def write() -> list[Spooled]:
            nonlocal reports
            reports = await self._reports(message, age, records) if reports is None else reports
            return await self._outbox.record(records, reports)

        return await self._insist("recording a delivery", write)

    async def _insist(self, doing: str, write: Callable[[], Awaitable[T]]) -> T:
        """Do it again and again while the store does not take it. Raises Unavailable only when we stop."""
        while True:
            try:
                written = await write()
                self._store_refuses = False
                return written
            except Unavailable as away:
                if self._stopping:
                    raise
                if not self._store_refuses:
                    maillog.store_unavailable(doing, str(away))
                self._store_refuses = True
                await self._pause(STORE_PAUSE)

    async def _reports(self, message: QueuedMessage, age: float, records: Sequence[Record]) -> list[NewMessage]:
        failed = [r.outcome for r in records if r.state is State.FAILED]
        delayed = [r.outcome for r in records if r.delay_warned]
        arrived = [r.outcome for r in records if r.state is State.DELIVERED and not r.outcome.relayed_dsn]
        final = [outcome for outcome in arrived if outcome.final]
        passed_on = [outcome for outcome in arrived if not outcome.final]
        left = max(0.0, self.schedule.give_up - age)
        told = ((Action.FAILED, failed), (Action.DELAYED, delayed), (Action.DELIVERED, final), (Action.RELAYED, passed_on))
        reports = {}
        for action, outcomes in told:
            report = await self._reporter.write(action, message, age, outcomes, retry_for=left)
            if report is not None:
                reports[action] = report
        for action in reports:
            self._metrics.reports_total.labels(action.value).inc()
        return list(reports.values())

    def _tell(self, message: QueuedMessage, age: float, records: Sequence[Record]) -> None:
        for record in records:
            self._metrics.deliveries_total.labels(_counted(record)).inc()
            if record.state is State.DELIVERED:
                self._metrics.delivery_delay_seconds.observe(age)
            _log(message, record)

    def _pause(self, seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self._clock.callLater(seconds, pause.callback, None)
        return pause


async def _reported(work: Coroutine[Any, Any, None]) -> None:
    """Do it; what nobody expected is logged here, for nobody waits for it."""
    try:
        await work
    except Exception as error:
        maillog.bug("delivering", error)


def _to_be_held(message: QueuedMessage, disabled: Collection[str]) -> list[Recipient]:
    if message.account_id not in disabled:
        return []
    return [recipient for recipient in message.recipients if not recipient.released]


def _in_memory(message: NewMessage | QueuedMessage) -> int:
    """The octets that a message keeps in memory while it is under way."""
    return len(message.header) + (0 if isinstance(message.body, Spooled) else message.body.size)


def _log(message: QueuedMessage, record: Record) -> None:
    outcome, recipient = record.outcome, record.outcome.recipient
    maillog.outcome(
        _counted(record),
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
    """The label of deliveries_total: delivered, retry, failed, expired, unreachable."""
    if record.state is State.QUEUED:
        return "retry" if record.outcome.burns_attempt else "unreachable"
    if record.state is State.FAILED and record.outcome.result is Result.RETRY:
        return "expired"
    return record.outcome.result.value
