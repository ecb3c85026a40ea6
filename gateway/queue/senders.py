"""Whether those who sent what is queued may still send: mail of a disabled account is held until it is enabled again.

The login table is the product's and may be away or slow. What was accepted goes on being sent then, so nobody waits for
it long, and after a failure it is left alone for a while.
"""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from gateway import maillog
from gateway.errors import Unavailable
from gateway.queue.ports import Outbox, SenderStatus

PATIENCE = 2.0  # seconds that deliveries wait for the login table
REST = 10.0  # seconds that they go without it after it failed
STEP = 500  # recipients let go in one transaction: a long one would hold up those who wait for their 250


class Senders:
    """`clock` is an IReactorTime."""

    def __init__(self, outbox: Outbox, status: SenderStatus, clock: Any) -> None:
        self._outbox = outbox
        self._status = status
        self._clock = clock
        self._rests_until = 0.0
        self._away = False

    async def disabled(self, account_ids: Iterable[str]) -> set[str]:
        """Those whose mail is to be held; none while nobody can say. Raises nothing: leased mail depends on it."""
        asked = {id_ for id_ in account_ids if id_}  # our own reports have no account
        if not asked or self._clock.seconds() < self._rests_until:
            return set()
        try:
            found = await Deferred.fromCoroutine(self._ask(asked)).addTimeout(PATIENCE, self._clock)
        except Unavailable as away:
            return self._none(str(away))
        except TimeoutError:
            return self._none(f"no answer in {PATIENCE:.0f} seconds")
        except Exception as error:
            maillog.bug("asking which accounts are disabled", error)
            return self._none("see above")
        self._away = False
        return found

    async def let_go(self) -> None:
        """Mail that was held for accounts that are enabled again is due now. Raises Unavailable."""
        held = await self._outbox.held_accounts()
        enabled = held - await self._status.disabled(held) if held else set()
        released = 0
        for account in sorted(enabled):
            while step := await self._outbox.let_go(account, STEP):
                released += step
        if released:
            maillog.let_go(len(enabled), released)

    async def _ask(self, account_ids: set[str]) -> set[str]:
        return await self._status.disabled(account_ids)

    def _none(self, reason: str) -> set[str]:
        if not self._away:
            maillog.senders_unknown(reason)
        self._away = True
        self._rests_until = self._clock.seconds() + REST
        return set()
