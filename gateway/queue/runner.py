"""Takes what was accepted to its next hop, and writes down what became of it.

Theory of operation. A bounded window of messages and octets is under way at any time. A fresh message that
finds room is leased in the transaction that queues it and goes to the relay at once, without being read
back; one that finds none is only written, and read later by `_poll`, which takes what is due whenever there
is room. So memory does not grow with the queue, and a full disk queue never slows accepting (the idea is
Postfix's active queue, qmgr_active.c). Whatever the relay says is recorded before anything else is done with
it (`gateway.queue.recorder`); when the store cannot take it, it is kept and offered again (`gateway.queue.insist`),
and meanwhile nothing new is taken. An outcome that dies with us is the one way in which we send twice.

What is read from the store has waited, so its sender is asked about first (`gateway.queue.senders`): mail of an account
that has been disabled meanwhile is held. A straight hand-over was asked about just before its 250.
"""

from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from gateway import maillog
from gateway.errors import Damaged, Unavailable
from gateway.metrics import Metrics
from gateway.queue.insist import Insist
from gateway.queue.lease import Lease, LeaseLost
from gateway.queue.model import Added, NewMessage, Outcome, Queued, QueuedMessage, Recipient, Result, Spooled, transactions
from gateway.queue.ports import Bodies, Outbox, Relay
from gateway.queue.recorder import Recorder
from gateway.queue.reports import Reporter
from gateway.queue.schedule import Schedule
from gateway.queue.senders import Senders

WINDOW_MESSAGES = 500
MOST_AT_ONCE = 100  # messages in one look for due mail
WINDOW_OCTETS = 64 * 1024 * 1024  # of headers and inline bodies in memory
POLL = 1.0  # seconds between two looks for due mail, for what other processes and operators change
OVERDUE_EVERY = 15.0  # seconds between two looks for senders to warn while no hop can be reached


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
        self._senders = senders
        self._clock = clock
        self._insist = Insist(clock)
        self._recorder = Recorder(outbox, bodies, reporter, self._insist, metrics)
        self._messages = self._octets = 0  # under way
        self._tasks = 0
        self._overdue_at = 0.0  # when to look for overdue mail again
        self._next_poll: Any = None  # the IDelayedCall
        self._all_done: Deferred[None] | None = None  # somebody waits for the last of the tasks

    # What others call

    async def accept(self, message: NewMessage) -> Added:
        """Queue a message; it is on its way when this returns, if there is room. See submission.Acceptance."""
        octets = _in_memory(message)
        if not self._has_room(octets) or self.relay.capacity() <= 1:
            return await self._outbox.add(message, lease=False)
        self._enter(octets)
        since = self._clock.seconds()
        try:
            added = await self._outbox.add(message, lease=True)
        except BaseException as error:
            self._leave(octets)
            if isinstance(error, Unavailable):
                self._spawn(self._disown(message.id))
            raise
        if isinstance(added, Queued):
            self._spawn(self._deliver(added.message, octets, since))
        else:
            self._leave(octets)
        return added

    async def _disown(self, message_id: str) -> None:
        """The commit of `add` may have come through all the same: nobody delivers what is leased to us by it then."""
        try:
            await self._insist.until_done("freeing a message whose commit is unknown", lambda: self._outbox.disown(message_id))
        except Unavailable:
            return  # we stop: the next life frees the lease

    def start(self) -> None:
        """Begin to look for due mail."""
        self._poll_in(0.0)

    async def stop(self, patience: float) -> None:
        """Take nothing more, and wait at most `patience` seconds for what is under way."""
        self._insist.stopping = True
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
        if self._insist.stopping or self._insist.refused:
            return False
        return self._messages < WINDOW_MESSAGES and self._octets + octets <= WINDOW_OCTETS

    def _enter(self, octets: int) -> None:
        self._messages += 1
        self._octets += octets

    def _leave(self, octets: int) -> None:
        self._messages -= 1
        self._octets -= octets

    def _spawn(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        self._tasks += 1
        return Deferred.fromCoroutine(self._done(work))

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it; what nobody expected is logged here, for nobody waits for it."""
        try:
            await work
        except Exception as error:
            maillog.bug("delivering", error)
        finally:
            self._tasks -= 1
            self._look_whether_done()

    # Reading what is due

    def _poll_in(self, seconds: float) -> None:
        if not self._insist.stopping:
            self._next_poll = self._clock.callLater(seconds, lambda: self._spawn(self._poll()))

    async def _poll(self) -> None:
        """Take what is due, as far as there is room and the relay can do with it; look again at once if there is more."""
        again = POLL
        try:
            room = min(MOST_AT_ONCE, WINDOW_MESSAGES - self._messages, self.relay.capacity())
            since = self._clock.seconds()
            taken = await self._take(room) if self._has_room(0) else []
            going = await self._begin(taken, since)
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
            return await self._outbox.take(room) if is_due and not self._insist.stopping else []
        now = self._clock.seconds()
        if now < self._overdue_at:
            return []
        self._overdue_at = now + OVERDUE_EVERY
        warn_after = self.schedule.delay_warning or self.schedule.give_up
        return await self._outbox.overdue(MOST_AT_ONCE, warn_after=warn_after, give_up=self.schedule.give_up)

    async def _begin(self, taken: Sequence[QueuedMessage], since: float) -> int:
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
            self._spawn(self._deliver(replace(message, recipients=rest), _in_memory(message), since))
        return going

    async def _hold_back(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> None:
        try:
            held = await self._insist.until_done("holding mail back", lambda: self._outbox.hold_back(recipients))
        except Unavailable:
            return  # we stop: the next life frees the lease, and asks again
        maillog.held_back(message.id, message.account_id, held)

    # Delivering

    async def _deliver(self, message: QueuedMessage, octets: int, since: float) -> None:
        """`since`: when its lease was asked for."""
        groups = transactions(message.recipients)
        try:
            if len(groups) == 1:
                await self._deliver_group(message, since, groups[0])
            else:
                await DeferredList([self._spawn(self._deliver_group(message, since, group)) for group in groups])
        finally:
            self._leave(octets)

    async def _deliver_group(self, message: QueuedMessage, since: float, group: Sequence[Recipient]) -> None:
        """Transaction by transaction, until each has its outcome or is not ours any more."""
        rest, asked = list(group), since
        try:
            while rest:
                lease = Lease(self._outbox.still_ours, rest, self._clock, asked)
                try:
                    outcomes = await self._attempt(message, rest, lease)
                except LeaseLost:
                    asked = self._clock.seconds()
                    rest = await self._still_ours(message, rest)
                    continue
                await self._recorder.settle(message, message.age + self._clock.seconds() - since, outcomes, self.schedule)
                done = {outcome.recipient.id for outcome in outcomes}
                rest = [recipient for recipient in rest if recipient.id not in done]
        except Unavailable:
            return  # we stop: the next life sends what is left

    async def _still_ours(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> list[Recipient]:
        """Those that may still be sent to; what an operator has held is let go of. Raises Unavailable: we stop."""
        doing = "looking for mail that may be another's"
        ours = await self._insist.until_done(doing, lambda: self._outbox.still_ours(recipients))
        if gone := [recipient for recipient in recipients if recipient not in ours]:
            maillog.leases_lost(message.id, len(gone))
            await self._insist.until_done(doing, lambda: self._outbox.release(gone))
        return ours

    async def _attempt(self, message: QueuedMessage, group: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        """What the relay makes of it. Trouble of our own is a retry: nothing may stay under way for ever. Raises LeaseLost."""
        try:
            return await self.relay.deliver(message, group, lease)
        except LeaseLost:
            raise
        except Unavailable as away:
            maillog.body_unavailable(message.id, str(away))
            problem = str(away) if isinstance(away, Damaged) else "The message cannot be read from disk"
        except Exception as error:
            maillog.bug("delivering", error)
            problem = "A problem on our side"
        return [Outcome(recipient, Result.RETRY, 0, "4.3.0", problem, "") for recipient in group]


def _to_be_held(message: QueuedMessage, disabled: Collection[str]) -> list[Recipient]:
    if message.account_id not in disabled:
        return []
    return [recipient for recipient in message.recipients if not recipient.released]


def _in_memory(message: NewMessage | QueuedMessage) -> int:
    """The octets that a message keeps in memory while it is under way."""
    return len(message.header) + (0 if isinstance(message.body, Spooled) else message.body.size)
