"""What an outbox says of a message that it has queued: for tests that want nothing else of its answer, or stand in for one."""

from gateway.queue.model import Added, NewMessage, Queued, QueuedMessage


def queued(added: Added) -> QueuedMessage:
    assert isinstance(added, Queued)
    return added.message


def taken(new: NewMessage) -> Queued:
    """The answer to `new` of one that leases nothing."""
    return Queued(QueuedMessage(new.id, new.account_id, new.envelope, new.header, new.body, 0.0, ()))
