"""What is done once for all serving processes of a machine: held mail, sweeping, figures of the queue, readiness."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import ensureDeferred

from gateway import maillog
from gateway.errors import StorageFull
from gateway.queue.senders import Senders
from gateway.store.sharing import is_shared, spool_of
from gateway.stores import Stores
from gateway.upkeep import Upkeep, attempt, in_steps

HELD_EVERY = 15.0  # seconds between two looks whether accounts whose mail is held are enabled again
SWEEP_EVERY = 600.0  # seconds
SWEEP_STEP = 500  # messages in one transaction
ORPHAN_AGE = 86400.0  # seconds
FAR_EVERY = 60.0  # seconds between two looks for due times that a step of the clock has moved away
FAR = "looking for due times that are too far away"
ROOM = 1 << 20  # octets that a disk must have for the store to be ready
COUNTS_FOR = 5.0  # seconds that figures of the queue are good for a scrape


class Housekeeping:
    """`clock` is an IReactorTime."""

    def __init__(self, stores: Stores, clock: Any) -> None:
        self._stores = stores
        self._clock = clock
        self._senders = Senders(stores.outbox, stores.sign_in.directory, clock)
        self._upkeep = Upkeep(clock)
        self._counted_at = -COUNTS_FOR

    @property
    def checks(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """What has to work, but for the listeners: each raises Unavailable while it does not."""
        return {"login_table": self._stores.sign_in.directory.reachable, "store": self._check_store}

    async def _check_store(self) -> None:
        self._stores.database.check_writes()
        await self._check_room()
        await self._stores.database.write(lambda connection: None)  # another process may hold the lock; this syncs nothing
        await self._stores.outbox.next_due()

    def start(self) -> None:
        self._upkeep.every(HELD_EVERY, "looking at held mail", self._senders.let_go)
        self._upkeep.every(SWEEP_EVERY, "sweeping", self._sweep)
        self._upkeep.every(FAR_EVERY, FAR, self._pull_in)
        ensureDeferred(attempt(FAR, self._pull_in))

    def stop(self) -> None:
        self._upkeep.stop()

    async def count_queue(self) -> None:
        """Bring the gauges of queue and lockouts up to date. Raises Unavailable."""
        now = self._clock.seconds()
        if now - self._counted_at < COUNTS_FOR:
            return
        await self._stores.sign_in.lockouts.count_active()
        counts = await self._stores.outbox.counts()
        self._counted_at = now
        metrics = self._stores.metrics
        for state in ("queued", "deferred", "active"):
            metrics.queue_recipients.labels(state).set(getattr(counts, state))
        metrics.queue_held.set(counts.held)
        metrics.queue_oldest_seconds.set(counts.oldest)

    async def _pull_in(self) -> None:
        outbox, longest = self._stores.outbox, max(self._stores.settings.relay.retry) + FAR_EVERY
        pulled = await in_steps(lambda: outbox.pull_in(longest, SWEEP_STEP), self._clock)
        if pulled:
            maillog.due_times_pulled_in(pulled)

    async def _check_room(self) -> None:
        """Raises StorageFull while the disk of a store on this machine has no room for anything."""
        url = self._stores.settings.store.url.get_secret_value()
        if is_shared(url):
            return
        room = await self._stores.on_disk(os.statvfs, spool_of(url).parent)
        if room.f_bavail * room.f_frsize < ROOM:
            raise StorageFull(f"the disk of the store has less than {ROOM >> 20} MiB left")

    async def _sweep(self) -> None:
        stores, keep = self._stores, self._stores.settings.relay.keep_finished
        messages = await in_steps(lambda: stores.outbox.sweep(keep, SWEEP_STEP), self._clock)
        await stores.sign_in.sweep()
        await in_steps(lambda: stores.ledger.sweep(SWEEP_STEP), self._clock)
        maillog.swept(messages, await stores.bodies.sweep_orphans(stores.outbox.live_bodies, ORPHAN_AGE))
