"""What the queue needs from the outside, and the errors each may raise."""

from collections.abc import Awaitable, Collection, Sequence
from typing import Protocol

from gateway.queue.allowance import Denied, Standing, Terms
from gateway.queue.lease import Lease
from gateway.queue.model import (
    Added,
    BodyRef,
    More,
    NewMessage,
    Outcome,
    QueueCounts,
    QueuedMessage,
    Recipient,
    Record,
    Recorded,
    Spooled,
)


class BodyWriter(Protocol):
    """A large body on its way to disk."""

    def write(self, data: bytes) -> Awaitable[None]:
        """Append. Raises StorageFull or Unavailable; the writer is then good for `discard` only."""
        ...

    def finish(self, rest: bytes = b"") -> Awaitable[Spooled]:
        """Append `rest`, and make all that was written durable: fsync, rename, fsync of the folder. Raises as `write`."""
        ...

    def discard(self) -> Awaitable[None]:
        """Drop what was written; never raises. After `finish` has answered it does nothing: a row may name the body."""
        ...


class BodyReader(Protocol):
    """A body being read from its start."""

    def read(self) -> Awaitable[bytes]:
        """The next block (at most 256 KiB), b"" at the end. Raises Unavailable."""
        ...

    def close(self) -> None: ...


class Bodies(Protocol):
    """Where bodies past 64 KiB are kept."""

    def create(self, name: str) -> Awaitable[BodyWriter]:
        """Begin the body of queue id `name`. Raises StorageFull or Unavailable."""
        ...

    def open(self, body: BodyRef) -> Awaitable[BodyReader]:
        """Read a body, inline ones included. Raises Unavailable."""
        ...

    def remove(self, body: Spooled) -> Awaitable[None]:
        """Remove a body whose message row is gone; one that is not there is fine. Never raises."""
        ...


class Outbox(Protocol):
    """The queue's rows. Every call commits on its own, or raises Unavailable (StorageFull) with nothing done.

    A commit whose result is unknown raises Unavailable, too: the row may be there (at-least-once).
    """

    def add(self, message: NewMessage, *, lease: bool) -> Awaitable[Added]:
        """Queue a message durably, and charge it, in one transaction; with `lease`, its recipients are ours from the start.

        Without `lease` the queued message has no recipients: they wait for `take`. Duplicate when a message with its
        `resend_key` was queued within 10 minutes and none of that one's recipients has failed, was held or deleted;
        Denied when its `terms` do not let it. Nothing is queued or charged then.
        """
        ...

    def disown(self, message_id: str) -> Awaitable[None]:
        """Free what `add` may have leased to us although it said Unavailable, so that `take` finds it."""
        ...

    def take(self, limit: int) -> Awaitable[list[QueuedMessage]]:
        """Lease due recipients of at most `limit` messages, oldest first, and read them."""
        ...

    def overdue(self, limit: int, *, warn_after: float, give_up: float) -> Awaitable[list[QueuedMessage]]:
        """As `take`, but only messages whose sender has to hear: one not warned after `warn_after` seconds, or given up."""
        ...

    def record(self, records: Sequence[Record], reports: Sequence[NewMessage], more: More | None = None) -> Awaitable[Recorded]:
        """Write down outcomes of one message, release their leases and queue the reports, in one transaction.

        Of the reports on failed blind recipients of one message the first MAX_BLIND_REPORTS are queued. When the message is
        done and there were more, `more` makes the report that tells how many.

        The caller removes the spooled bodies that come back: nobody waits for their messages any more. An outcome of a
        recipient that is not leased to us any more changes nothing (`late`); when all of them are such, no report is queued.
        One that an operator has held meanwhile stays held instead of being tried again.
        """
        ...

    def release(self, recipients: Sequence[Recipient]) -> Awaitable[None]:
        """Give leases back untried."""
        ...

    def still_ours(self, recipients: Sequence[Recipient]) -> Awaitable[list[Recipient]]:
        """Those that are leased to us now, and not held: asked before MAIL and before the final dot."""
        ...

    def hold_back(self, recipients: Sequence[Recipient]) -> Awaitable[int]:
        """End the leases of these: their sender's account is disabled, so they are held. How many were still ours.

        What an operator has held meanwhile stays the operator's.
        """
        ...

    def held_accounts(self) -> Awaitable[set[str]]:
        """The accounts whose mail is held because they were disabled."""
        ...

    def let_go(self, account_id: str, limit: int) -> Awaitable[int]:
        """Make due at most `limit` recipients that were held because this account was disabled; how many."""
        ...

    def next_due(self) -> Awaitable[float | None]:
        """Seconds until the earliest unleased recipient is due (0 or less: now); None when none waits."""
        ...

    def counts(self) -> Awaitable[QueueCounts]: ...


class Ledger(Protocol):
    """What accounts have sent, day by day, and which are suspended."""

    def standing(self, account_id: str) -> Awaitable[Standing]:
        """How the account stands now, by a read that starts after this call. Raises Unavailable."""
        ...

    def overstep(self, account_id: str, terms: Terms, recipients: int) -> Awaitable[Denied | Standing]:
        """Decide about `recipients` that look as if they were over the limit; this may suspend the account.

        Standing when they would fit after all; nothing is charged. Raises Unavailable.
        """
        ...

    def sent_lately(self, account_id: str, sender: str, recipient: str) -> Awaitable[bool]:
        """Whether a message that `add` would know again went from `sender` to `recipient`, as written. Raises Unavailable."""
        ...

    def refused(self, account_id: str) -> None:
        """Count one refusal. Waits for nothing, and raises nothing."""
        ...


class SenderStatus(Protocol):
    """Whether accounts may still send, as the product's login table says now."""

    def disabled(self, account_ids: Collection[str]) -> Awaitable[set[str]]:
        """Those that are disabled or deleted, for sure. Raises Unavailable when the table cannot be read."""
        ...


class Owners(Protocol):
    """Whose sender addresses are."""

    def owns(self, account_id: str, sender: str) -> Awaitable[bool]:
        """Whether the account owns the address now: its login, an alias, or in one of its domains. Raises Unavailable."""
        ...


class Relay(Protocol):
    """The way to the next hop."""

    def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> Awaitable[list[Outcome]]:
        """One transaction: an outcome for each recipient that had part in it, at least one, in their order.

        The others are for the next transaction: the hop takes no more at once. `lease` is confirmed before MAIL and before
        the final dot. Raises LeaseLost, or Unavailable when the body cannot be read: nothing was sent then.
        """
        ...

    def capacity(self) -> int:
        """How many messages make sense now: none while every next hop rests, one to ask one of them again, else many."""
        ...
