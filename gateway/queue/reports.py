"""Who is told what about a message's fate: reports to its sender, as messages of our own (RFC 3461 sections 4.1 and 5.2).

Recipients come here in the groups that they were sent in, so a blind one is always reported alone.

Where accounts may use any sender address (`senders.envelope = "any"`), a report could be used to send mail to a stranger.
It then goes only to an address that the account owns when the report is made, and has nothing of the body.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from gateway import maillog
from gateway.errors import Unavailable
from gateway.message.report import Action, Fate, Original, report, summary
from gateway.queue.body import INLINE, BodyBuffer
from gateway.queue.model import (
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
)
from gateway.queue.ports import Bodies, Owners

MAX_RETURNED = 1024 * 1024  # octets of a body that RET=FULL gives back; of a larger one the header alone


PATIENCE = 5.0  # seconds that a report waits to learn whose its sender's address is


class OwnersOnly:
    """Reports go only to senders that their account owns, while `active` (`senders.envelope`). `clock` is an IReactorTime."""

    def __init__(self, owners: Owners, clock: Any, *, active: bool) -> None:
        self.active = active
        self._owners = owners
        self._clock = clock

    async def refuses(self, message: QueuedMessage) -> bool:
        """Whether the message's sender must not get a report; also when that cannot be found out. It is logged then."""
        if not self.active:
            return False
        reason = "the account does not own the sender address"
        try:
            if await Deferred.fromCoroutine(self._ask(message)).addTimeout(PATIENCE, self._clock):
                return False
        except Unavailable as away:
            reason = f"cannot tell whose the sender address is: {away}"
        except TimeoutError:
            reason = f"cannot tell whose the sender address is: no answer in {PATIENCE:.0f} seconds"
        except Exception as error:
            maillog.bug("asking whose a sender address is", error)
            reason = "cannot tell whose the sender address is"
        maillog.report_not_sent(message.id, message.account_id, reason)
        return True

    async def _ask(self, message: QueuedMessage) -> bool:
        return await self._owners.owns(message.account_id, message.envelope.sender)


class Reporter:
    """Writes reports in the name of `hostname`. `now` gives seconds since the epoch, by the store's clock."""

    def __init__(
        self,
        hostname: str,
        bodies: Bodies,
        new_id: Callable[[], str],
        now: Callable[[], float],
        owners_only: OwnersOnly | None = None,
    ) -> None:
        self._hostname = hostname
        self._owners_only = owners_only
        self._bodies = bodies
        self._new_id = new_id
        self._now = now

    async def write(
        self, action: Action, message: QueuedMessage, age: float, outcomes: Sequence[Outcome], *, retry_for: float = 0.0
    ) -> NewMessage | None:
        """The report about those outcomes whose sender wants to hear; None when there is none, or no sender.

        `age` of the message in seconds; `retry_for` seconds a delayed one is still tried. Raises Unavailable, StorageFull.
        """
        told = [outcome for outcome in outcomes if wants(action, outcome.recipient)]
        if not told or not message.envelope.sender or await self._refuses(message):
            return None
        now = self._now()
        report_id = self._new_id()
        header, text = report(
            action,
            [_fate(outcome, now) for outcome in told],
            await self._original(action, message, now - age, _returned(told)),
            hostname=self._hostname,
            report_id=report_id,
            date=_moment(now),
            retry_until=_moment(now + retry_for) if action is Action.DELAYED else None,
        )
        return await self._message(report_id, message.envelope.sender, header, text)

    async def more(self, message: QueuedMessage, age: float) -> More | None:
        """What makes the report on those failed blind recipients that get none of their own; None where no report may go."""
        if not message.envelope.sender or await self._refuses(message):
            return None
        now, report_id = self._now(), self._new_id()
        original = Original(message.envelope.sender, message.envelope.envid, "HDRS", _moment(now - age), message.header)

        def make(count: int) -> NewMessage:
            header, text = summary(count, original, hostname=self._hostname, report_id=report_id, date=_moment(now))
            return _new(report_id, original.sender, header, text, Inline(text))

        return make

    async def _refuses(self, message: QueuedMessage) -> bool:
        return self._owners_only is not None and await self._owners_only.refuses(message)

    async def _original(self, action: Action, message: QueuedMessage, arrived: float, limit: int) -> Original:
        envelope = message.envelope
        whole = envelope.ret == "FULL" and not (self._owners_only and self._owners_only.active)
        body = await self._body(message, limit) if action is Action.FAILED and whole else None
        return Original(envelope.sender, envelope.envid, envelope.ret, _moment(arrived), message.header, body)

    async def _body(self, message: QueuedMessage, limit: int) -> bytes | None:
        """The body to return; None when it is too large, or cannot be read: the report must not fail with it."""
        if message.body.size > limit:
            return None
        try:
            return await self._read(message)
        except Unavailable as away:
            maillog.body_unavailable(message.id, str(away))
            return None

    async def _read(self, message: QueuedMessage) -> bytes:
        reader = await self._bodies.open(message.body)
        try:
            parts = []
            while block := await reader.read():
                parts.append(block)
            return b"".join(parts)
        finally:
            reader.close()

    async def _message(self, report_id: str, sender: str, header: bytes, text: bytes) -> NewMessage:
        return _new(report_id, sender, header, text, await self._stored(report_id, text))

    async def _stored(self, report_id: str, text: bytes) -> BodyRef:
        buffer = BodyBuffer(self._bodies, report_id)
        try:
            await buffer.write(text)
            return await buffer.finish()
        except BaseException:
            await buffer.discard()
            raise


def _new(report_id: str, sender: str, header: bytes, text: bytes, body: BodyRef) -> NewMessage:
    eight_bit = not (text.isascii() and header.isascii())
    envelope = Envelope("", eight_bit, smtputf8=not sender.isascii())
    return NewMessage(report_id, "", envelope, header, body, (NewRecipient(sender, Field.TO, notify="NEVER"),))


def _returned(told: Sequence[Outcome]) -> int:
    """Octets of a body to give back: little to each blind recipient's own report, for there may be a hundred of them."""
    blind = any(outcome.recipient.field is Field.BCC for outcome in told)
    return INLINE if blind else MAX_RETURNED


def wants(action: Action, recipient: Recipient) -> bool:
    """Whether NOTIFY asks for this; without it failures and delays are told (RFC 3461 section 4.1)."""
    if action is Action.FAILED:
        return not recipient.notify or "FAILURE" in recipient.notify
    if action is Action.DELAYED:
        return not recipient.notify or "DELAY" in recipient.notify
    return "SUCCESS" in recipient.notify


def _fate(outcome: Outcome, now: float) -> Fate:
    recipient = outcome.recipient
    return Fate(
        recipient.address,
        outcome.code,
        outcome.enhanced,
        outcome.text,
        outcome.remote,
        recipient.orcpt,
        last_attempt=_moment(now),
    )


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
