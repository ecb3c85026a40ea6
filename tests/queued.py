"""What an outbox has queued, for tests that want nothing else of its answer."""

from gateway.queue.model import Added, Queued, QueuedMessage


def queued(added: Added) -> QueuedMessage:
    assert isinstance(added, Queued)
    return added.message
