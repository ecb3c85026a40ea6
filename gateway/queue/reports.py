"""Who is told what about a message's fate: reports to its sender, as messages of our own (RFC 3461 sections 4.1 and 5.2).

Recipients come here in the groups that they were sent in, so a blind one is always reported alone.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from gateway import maillog
from gateway.errors import Unavailable
from gateway.message.report import Action, Fate, Original, report
from gateway.queue.body import INLINE, BodyBuffer
from gateway.queue.model import BodyRef, Envelope, Field, NewMessage, NewRecipient, Outcome, QueuedMessage, Recipient
from gateway.queue.ports import Bodies

MAX_RETURNED = 1024 * 1024  # octets of a body that RET=FULL gives back; of a larger one the header alone


class Reporter:
    """Writes reports in the name of `hostname`. `now` gives seconds since the epoch, by the store's clock."""

    def __init__(self, hostname: str, bodies: Bodies, new_id: Callable[[], str], now: Callable[[], float]) -> None:
        self._hostname = hostname
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
        if not told or not message.envelope.sender:
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

    async def _original(self, action: Action, message: QueuedMessage, arrived: float, limit: int) -> Original:
        envelope = message.envelope
        body = await self._body(message, limit) if action is Action.FAILED and envelope.ret == "FULL" else None
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
        body = await self._stored(report_id, text)
        eight_bit = not (text.isascii() and header.isascii())
        envelope = Envelope("", eight_bit, smtputf8=not sender.isascii())
        recipient = NewRecipient(sender, Field.TO, notify="NEVER")
        return NewMessage(report_id, "", envelope, header, body, (recipient,))

    async def _stored(self, report_id: str, text: bytes) -> BodyRef:
        buffer = BodyBuffer(self._bodies, report_id)
        try:
            await buffer.write(text)
            return await buffer.finish()
        except BaseException:
            await buffer.discard()
            raise


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
