"""What the queue's words are in those of a next hop: the port of one hop, a message as a transaction, verdicts as outcomes."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage, Recipient, Result
from gateway.smtp.client_events import Unusable
from gateway.smtp.transaction import To, Transaction, Verdict


class HopDown(Exception):
    """The hop cannot be reached or used now, whatever the message; `reason` is for logs and `queue show`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @classmethod
    def of(cls, unusable: Unusable) -> "HopDown":
        said = " ".join(str(part) for part in (unusable.code or "", unusable.enhanced) if part)
        return cls(f"{unusable.text} ({said})" if said else unusable.text)


class Hop(Protocol):
    """One next hop."""

    @property
    def label(self) -> str:
        """Its name in configuration, metrics and logs."""
        ...

    def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> Awaitable[list[Outcome]]:
        """As `Relay.deliver`; raises HopDown, too, when the hop cannot be used: nothing was sent."""
        ...

    def close(self) -> Awaitable[None]:
        """Let go of connections at rest; those at work end with their transaction."""
        ...


def transaction_of(message: QueuedMessage, recipients: Sequence[Recipient]) -> Transaction:
    envelope = message.envelope
    texts = (envelope.sender, *(text for recipient in recipients for text in (recipient.address, recipient.orcpt)))
    international = not all(text.isascii() for text in texts)
    return Transaction(
        sender=envelope.sender,
        recipients=tuple(To(r.address, r.notify, r.orcpt) for r in recipients),
        size=message.size,
        eight_bit=envelope.eight_bit,
        smtputf8=envelope.smtputf8 or international,
        utf8_header=envelope.smtputf8 and not message.header.isascii(),
        ret=envelope.ret,
        envid=envelope.envid,
    )


def outcome_of(recipient: Recipient, verdict: Verdict, *, hop: str, remote: str, unconfirmed: bool) -> Outcome:
    """`unconfirmed`: the final reply of the transaction was lost, which decides those that no reply has decided."""
    return Outcome(
        recipient,
        Result(verdict.result),
        verdict.code,
        verdict.enhanced,
        verdict.text,
        hop,
        remote,
        relayed_dsn=verdict.relayed_dsn,
        unconfirmed=unconfirmed and not verdict.code,
    )
