"""NextHops: the queue's Relay over several next hops, tried in order.

A hop that cannot be reached rests (gateway.relay.route) and the next one is used. What a hop says about a
recipient is final for this attempt: the next hop is not asked for another opinion, nor with a message that is too
large for this one.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred

from gateway import maillog
from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage, Recipient, Result
from gateway.relay import route
from gateway.relay.hop import Hop, HopDown
from gateway.smtp.reply_reader import MAX_TEXT

MANY = 1_000_000  # messages: no limit of ours


class NextHops:
    """`hops` in the order of preference, at least one; `clock` is an IReactorTime."""

    def __init__(self, hops: Sequence[Hop], clock: Any) -> None:
        self._hops = list(hops)
        self._health = [route.Health() for _ in hops]
        self._clock = clock

    async def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        """As `Relay.deliver`; when no hop can be reached, RETRY for all, burning no attempt."""
        for position, health in enumerate(self._health):
            if not route.may_try(health, self._clock.seconds()):
                continue
            outcomes = await self._try(position, message, recipients, lease)
            if outcomes is not None:
                return outcomes
        return self._unreachable(recipients)

    def capacity(self) -> int:
        """As `Relay.capacity`."""
        if any(health.good for health in self._health):
            return MANY
        return int(any(route.may_try(health, self._clock.seconds()) for health in self._health))

    async def close(self) -> None:
        """Let go of all connections at rest."""
        await DeferredList([ensureDeferred(_closed(hop)) for hop in self._hops])

    async def _try(
        self, position: int, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease
    ) -> list[Outcome] | None:
        """None when the hop cannot be reached."""
        probe = not self._health[position].good
        self._health[position] = route.tried(self._health[position], self._clock.seconds())
        try:
            outcomes = await self._hops[position].deliver(message, recipients, lease)
        except HopDown as down:
            self._failed(position, down.reason, probe=probe)
            return None
        except BaseException:  # the body cannot be read, the lease is lost, or nobody waits any more
            self._health[position] = route.undecided(self._health[position], probe=probe)
            raise
        if any(outcome.code or outcome.result is Result.FAILED for outcome in outcomes):
            self._works(position)
        else:  # no reply decided anything: the connection was lost, or its time limit was over
            self._health[position] = route.undecided(self._health[position], probe=probe)
        return outcomes

    def _failed(self, position: int, reason: str, *, probe: bool) -> None:
        before, now = self._health[position], self._clock.seconds()
        after = route.failed(before, now, reason, probe=probe)
        self._health[position] = after
        if before.good:  # later failures of the same outage are no news
            maillog.hop_down(self._hops[position].label, reason, after.retry_at - now)

    def _works(self, position: int) -> None:
        if not self._health[position].good:
            maillog.hop_up(self._hops[position].label)
            self._health[position] = route.Health()

    def _unreachable(self, recipients: Sequence[Recipient]) -> list[Outcome]:
        reasons = "; ".join(f"{hop.label}: {health.reason}" for hop, health in zip(self._hops, self._health, strict=True))
        text = f"No next hop can be reached: {reasons}"[:MAX_TEXT]
        label = self._hops[0].label
        return [Outcome(r, Result.RETRY, 0, "4.4.1", text, label, burns_attempt=False) for r in recipients]


async def _closed(hop: Hop) -> None:
    await hop.close()
