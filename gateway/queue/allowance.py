"""The daily limit: how many recipients an account may still have today, and what becomes of one who wants more.

A day is a calendar day in UTC by the store's clock, as a number of days since 1970. What is counted is in the store
(`gateway.store.usage`); nothing here keeps anything.
"""

from enum import StrEnum

from gateway.values import value

DAY = 86400.0  # seconds
WARN_AT = 0.8  # of the limit


class OnLimit(StrEnum):
    """What becomes of a message that is over the limit: the values of `limits.on_daily_limit` and of the label `action`."""

    DEFER = "defer"
    REJECT = "reject"
    SUSPEND = "suspend"


@value
class Terms:
    """On which an account sends: `limit` in recipients a day, 0 for none."""

    limit: int
    on_limit: OnLimit


@value
class Standing:
    """How an account stands on `day`: `used` recipients charged, `resets_in` seconds to the next day."""

    day: int
    used: int
    resets_in: float
    suspended: bool = False

    def left(self, limit: int) -> int | None:
        """How many recipients are left of `limit`; None when there is none."""
        return max(0, limit - self.used) if limit else None


@value
class Denied:
    """Recipients that would be over the limit of `terms`; `action` is what became of it.

    SUSPEND: the account is suspended, now or since before. After an operator has lifted a suspension, what is over the limit
    on the same day is only deferred, or lifting it would last for one message.
    """

    action: OnLimit
    limit: int
    standing: Standing


def fits(terms: Terms, standing: Standing, recipients: int) -> bool:
    """Whether `recipients` more may be charged."""
    return not standing.suspended and (not terms.limit or standing.used + recipients <= terms.limit)


def consequence(terms: Terms, standing: Standing, *, lifted: bool) -> OnLimit:
    """What becomes of what does not fit. `lifted`: an operator has lifted a suspension of this day."""
    if standing.suspended:
        return OnLimit.SUSPEND
    return OnLimit.DEFER if lifted and terms.on_limit is OnLimit.SUSPEND else terms.on_limit


def is_crossing(terms: Terms, standing: Standing, recipients: int) -> bool:
    """Whether the `recipients` just charged, which `standing` has in it, brought the account past WARN_AT of its limit."""
    mark = terms.limit * WARN_AT
    return bool(terms.limit) and standing.used - recipients < mark <= standing.used
