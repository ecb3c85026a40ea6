"""The day's charges and the suspensions of accounts in memory, by the same rules as the store's, and the ledger over them."""

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from gateway.errors import Unavailable
from gateway.queue.allowance import DAY, Denied, OnLimit, Standing, Terms, consequence, fits
from gateway.queue.model import Field, NewMessage


@dataclass(slots=True)
class FakeSuspension:
    """A row of table suspension."""

    account_id: str
    day: int
    daily_limit: int
    used: int
    lifted: bool = False


class FakeUsage:
    """Tables usage_day and suspension. `now` gives seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.days: dict[tuple[str, int], Counter[str]] = {}  # by account and day: messages, to, cc, bcc, bytes
        self.suspensions: list[FakeSuspension] = []

    def today(self, account_id: str) -> Counter[str]:
        """The account's row of today; one that was never charged is not kept."""
        return self.days.get((account_id, self._day()), Counter())

    def standing(self, account_id: str) -> Standing:
        day, row = self._day(), self.today(account_id)
        used = sum(row[field.value] for field in Field)
        return Standing(day, used, (day + 1) * DAY - self._now(), self._active(account_id) is not None)

    def charge(self, new: NewMessage, terms: Terms) -> Standing | Denied:
        found = self.overstep(new.account_id, terms, len(new.recipients))
        if isinstance(found, Denied):
            return found
        row = self.days.setdefault((new.account_id, found.day), Counter())
        row.update(one.field.value for one in new.recipients)
        row.update({"messages": 1, "bytes": new.size})
        return self.standing(new.account_id)

    def overstep(self, account_id: str, terms: Terms, recipients: int) -> Denied | Standing:
        standing = self.standing(account_id)
        if fits(terms, standing, recipients):
            return standing
        lifted = any(s.lifted and (s.account_id, s.day) == (account_id, standing.day) for s in self.suspensions)
        action = consequence(terms, standing, lifted=lifted)
        if action is OnLimit.SUSPEND and not standing.suspended:
            self.suspensions.append(FakeSuspension(account_id, standing.day, terms.limit, standing.used))
        return Denied(action, terms.limit, replace(standing, suspended=action is OnLimit.SUSPEND))

    def lift(self, account_id: str) -> None:
        """As an operator does."""
        held = self._active(account_id)
        assert held is not None
        held.lifted = True

    def _active(self, account_id: str) -> FakeSuspension | None:
        return next((one for one in self.suspensions if one.account_id == account_id and not one.lifted), None)

    def _day(self) -> int:
        return int(self._now() // DAY)


class FakeLedger:
    """Ledger over the `usage` of a FakeOutbox. `refusals` by account, `looks` at how one stands; `fail_with` makes what can
    fail, fail with it."""

    def __init__(self, usage: FakeUsage, sent: Callable[[], Set[tuple[str, str, str]]]) -> None:
        self.usage = usage
        self._sent = sent  # account, sender and recipient of what would be known if it came again
        self.refusals: Counter[str] = Counter()
        self.looks = 0
        self.fail_with: Unavailable | None = None

    async def standing(self, account_id: str) -> Standing:
        self._check()
        return self.usage.standing(account_id)

    async def overstep(self, account_id: str, terms: Terms, recipients: int) -> Denied | Standing:
        self._check()
        return self.usage.overstep(account_id, terms, recipients)

    async def sent_lately(self, account_id: str, sender: str, recipient: str) -> bool:
        self._check()
        return (account_id, sender, recipient) in self._sent()

    def refused(self, account_id: str) -> None:
        self.refusals[account_id] += 1

    def _check(self) -> None:
        self.looks += 1
        if self.fail_with is not None:
            raise self.fail_with
