"""The daily limit as one session meets it: told at EHLO, refused at MAIL and RCPT as early as can be known.

What decides is the transaction that queues (`Outbox.add`). What is known here may be a moment old, so it spares people an
upload in vain and admits nothing: what looks over the limit is decided in the store, and what looks fine is decided there
at the end. Recipients charged are never given back on the same day, so a count that has reached the limit stays there.
"""

from functools import lru_cache

from gateway import maillog, reply
from gateway.accounts.model import Account
from gateway.config import Limits
from gateway.errors import Refused, Unavailable
from gateway.metrics import Metrics
from gateway.queue.allowance import Denied, OnLimit, Standing, Terms, fits, is_crossing
from gateway.queue.model import Queued
from gateway.queue.ports import Ledger


class Quota:
    """Of one session. Times are the store's."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._known: Standing | None = None  # of the transaction under way
        self._denied: Denied | None = None  # recipients of that transaction
        self._next: Standing | None = None  # as the session's last message left it: spares the next MAIL a read

    async def most_recipients(self, account: Account, limits: Limits) -> int:
        """RCPTMAX for the account: not more than what is left today, and never 0 (RFC 9422 section 4)."""
        try:
            standing = await self._ledger.standing(account.id)
        except Unavailable:  # a greeting does not fail for it; MAIL will
            return limits.recipients
        left = 0 if standing.suspended else standing.left(terms_of(account, limits).limit)
        return limits.recipients if left is None else max(1, min(limits.recipients, left))

    async def begin(self, account: Account) -> None:
        """At MAIL. Raises Refused for a suspended account; Unavailable."""
        known, self._next, self._denied = self._next, None, None
        self._known = known if known is not None else await self._ledger.standing(account.id)
        if self._known.suspended:
            self._count(OnLimit.SUSPEND)
            maillog.sender_suspended(account.id, account.credential.id if account.credential else None)
            raise Refused(reply.SUSPENDED)

    def has_room(self, account: Account, limits: Limits, recipients: int) -> bool:
        """At RCPT: whether the day has room for that many, as far as is known; where it has not, `admit` tells."""
        return self._known is None or fits(terms_of(account, limits), self._known, recipients)

    async def admit(self, account: Account, limits: Limits, recipients: int, *, sender: str, recipient: str) -> None:
        """At RCPT: `recipient` is the message's `recipients`th, "" a null `sender`. Raises Refused, Unavailable.

        One that got a message from the same sender lately passes: it may be that message again, whose 250 was lost and which
        is charged already. The end of the message tells.
        """
        if self._denied is not None:  # the client may name thousands more: no write and no line in the log for each
            raise self._refusal(self._denied)
        if await self._ledger.sent_lately(account.id, sender, recipient):
            return
        decided = await self._ledger.overstep(account.id, terms_of(account, limits), recipients)
        if isinstance(decided, Denied):
            self._denied = decided
            raise self.denied(account, decided)
        self._known = decided

    def charged(self, account: Account, limits: Limits, queued: Queued, recipients: int) -> None:
        """A message was queued; the one that brings the account past 80 % of its limit is told to the operators."""
        self._next = queued.standing
        terms = terms_of(account, limits)
        if queued.standing is not None and is_crossing(terms, queued.standing, recipients):
            self._metrics.quota_warnings_total.inc()
            maillog.near_daily_limit(account.id, queued.standing.used, terms.limit)

    def denied(self, account: Account, denied: Denied) -> Refused:
        """Count it, tell the operators, and what to tell the client."""
        maillog.over_daily_limit(account.id, denied.standing.used, denied.limit, denied.action.value)
        return self._refusal(denied)

    def _refusal(self, denied: Denied) -> Refused:
        self._count(denied.action)
        if denied.action is OnLimit.SUSPEND:
            return Refused(reply.SUSPENDED)
        defer = denied.action is OnLimit.DEFER
        return Refused(reply.over_daily_limit(denied.limit, denied.standing.resets_in, defer=defer))

    def _count(self, action: OnLimit) -> None:
        self._metrics.quota_refusals_total.labels(action.value).inc()


def terms_of(account: Account, limits: Limits) -> Terms:
    """The account's own daily limit, or the general one."""
    own = account.daily_recipients
    return _terms(limits.daily_recipients if own is None else own, limits.on_daily_limit)


@lru_cache(maxsize=256)
def _terms(limit: int, on_limit: str) -> Terms:
    return Terms(limit, OnLimit(on_limit))
