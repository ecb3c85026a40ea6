"""Lease: whether mail that is under way is still ours to send.

A process that was stopped (SIGSTOP, a debugger, a machine that slept) may wake up in the middle of a transaction long
after its mail has gone to another; an operator may have held or deleted it meanwhile. So the store is asked before MAIL
and before the final dot, but not when it has just said so: a process counts as dead only 45 s after its last sign of
life, and one that asks has given it within 15 s.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.errors import Unavailable
from gateway.queue.model import Recipient

StillOurs = Callable[[Sequence[Recipient]], Awaitable[list[Recipient]]]  # as `Outbox.still_ours`

TRUSTED = 5.0  # seconds for which the store's word holds
SAFE = 30.0  # seconds for which it holds while the store is away, or takes that long to answer


class LeaseLost(Exception):
    """Some recipients are not ours any more, or held, or nobody can say: none of them may be sent to now."""


class Lease:
    """Of recipients that were ours `since` (by `clock`, an IReactorTime): a moment before the store was asked, not after."""

    def __init__(self, still_ours: StillOurs, recipients: Sequence[Recipient], clock: Any, since: float) -> None:
        self._still_ours = still_ours
        self._recipients = recipients
        self._clock = clock
        self._since = since

    async def confirm(self) -> None:
        """Look into the store if that was last done too long ago. Raises LeaseLost."""
        trusted = TRUSTED
        while (asked := self._clock.seconds()) - self._since > trusted:
            try:
                ours = await self._still_ours(self._recipients)
            except Unavailable as away:
                if self._clock.seconds() - self._since > SAFE:
                    raise LeaseLost from away
                return
            if len(ours) < len(self._recipients):
                raise LeaseLost
            self._since, trusted = asked, SAFE  # we may have been stopped while we waited for the answer
