"""What one transaction does with an account's day: look how it stands, charge recipients, deny what is over the limit.

Theory of operation. A charge is one statement, for all that a group charges, and the condition is in it, so no number of
sessions and processes at once oversteps a limit: SQLite has one writer at a time, and PostgreSQL looks at the row once more
after it has waited for its lock. A message that is rolled back takes its charge with it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from operator import add, itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Text,
    bindparam,
    cast,
    exists,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT, too; not the other way round

from gateway.queue.allowance import DAY, Denied, OnLimit, Standing, Terms, consequence, fits
from gateway.queue.model import Field, NewMessage
from gateway.store import suspensions
from gateway.store.clock import now, today
from gateway.store.given import as_rows, given
from gateway.store.prepared import Prepared
from gateway.store.schema import suspension, usage_day

USED = usage_day.c.to_recipients + usage_day.c.cc_recipients + usage_day.c.bcc_recipients

_LIMIT = bindparam("limit", type_=BigInteger)
_ACCOUNT = given(0, Text)
_SENT: dict[str, ColumnElement[Any]] = {
    "messages": given(1, Integer),
    **{f"{field}_recipients": given(2 + position, Integer) for position, field in enumerate(Field)},
    "bytes": given(2 + len(Field), BigInteger),
}
_RECIPIENTS = reduce(add, (_SENT[f"{field}_recipients"] for field in Field))
_FIRST_OF_DAY = {"account_id": _ACCOUNT, "day": today(), **_SENT, "refusals": literal_column("0")}
_SUSPENDED = exists().where(suspension.c.account_id == _ACCOUNT, suspensions.HOLDS)
_NEW = insert(usage_day).from_select(
    list(_FIRST_OF_DAY), select(*_FIRST_OF_DAY.values()).where(or_(_LIMIT == 0, _RECIPIENTS <= _LIMIT), ~_SUSPENDED)
)
_NEW_RECIPIENTS = reduce(add, (_NEW.excluded[f"{field}_recipients"] for field in Field))
_CHARGE = Prepared(
    _NEW.on_conflict_do_update(
        index_elements=[usage_day.c.account_id, usage_day.c.day],
        set_={name: usage_day.c[name] + _NEW.excluded[name] for name in _SENT},
        where=or_(_LIMIT == 0, USED + _NEW_RECIPIENTS <= _LIMIT),
    ).returning(usage_day.c.account_id, usage_day.c.day, USED.label("used"), now().label("at"))
)

_ACCOUNTS = select(_ACCOUNT)
_STANDINGS = Prepared(
    union_all(
        select(literal("clock").label("what"), literal("").label("account_id"), now().label("value")),
        select(literal("used"), usage_day.c.account_id, cast(USED, Double)).where(
            usage_day.c.account_id.in_(_ACCOUNTS), usage_day.c.day == today()
        ),
        select(literal("suspended"), suspension.c.account_id, cast(0, Double)).where(
            suspension.c.account_id.in_(_ACCOUNTS), suspensions.HOLDS
        ),
    )
)


def standings(connection: Connection, accounts: Collection[str]) -> dict[str, Standing]:
    """How each of these accounts stands now."""
    rows = _STANDINGS.run(connection, as_rows((account,) for account in accounts))
    found = {(row.what, row.account_id): row.value for row in rows}
    at = found["clock", ""]
    return {
        account: _standing(int(at // DAY), int(found.get(("used", account), 0)), at, suspended=("suspended", account) in found)
        for account in accounts
    }


def charge_all(connection: Connection, messages: Sequence[NewMessage]) -> dict[str, Standing | Denied]:
    """Charge each to its account, in their order, by its `terms`; how the account stands after each, by queue id.

    Denied, and nothing charged for that message, when it may not.
    """
    of_account: dict[str, list[NewMessage]] = {}
    for new in messages:
        of_account.setdefault(new.account_id, []).append(new)
    # Together first, and only what does not fit together one by one. The same order on every machine: see Database.write
    answers: dict[str, Standing | Denied] = {}
    by_limit = sorted((_strictest(sent), account) for account, sent in of_account.items())
    for limit, accounts in groupby(by_limit, key=itemgetter(0)):
        answers |= _charged(connection, limit, [of_account[account] for _, account in accounts])
    for new in messages:
        if new.id not in answers:
            answers[new.id] = _charge(connection, new)
    return answers


def _strictest(messages: Sequence[NewMessage]) -> int:
    """The limit that all of them keep if they keep it together; 0: none has one."""
    return min((new.terms.limit for new in messages if new.terms and new.terms.limit), default=0)


def _charged(connection: Connection, limit: int, accounts: Sequence[Sequence[NewMessage]]) -> dict[str, Standing | Denied]:
    """Charge to each account all that it sends here, unless all of it together is over `limit`."""
    rows = _CHARGE.run(connection, {"limit": limit, **as_rows(map(_sums, accounts))})
    charged = {row.account_id: row for row in rows}
    answers: dict[str, Standing | Denied] = {}
    for sent in accounts:
        row = charged.get(sent[0].account_id)
        if row is not None:
            used = row.used - sum(len(new.recipients) for new in sent)
            for new in sent:
                used += len(new.recipients)
                answers[new.id] = _standing(row.day, used, row.at)
    return answers


def _sums(sent: Sequence[NewMessage]) -> list[str | int]:
    by_field = Counter(one.field for new in sent for one in new.recipients)
    return [sent[0].account_id, len(sent), *(by_field[field] for field in Field), sum(new.size for new in sent)]


def _charge(connection: Connection, new: NewMessage) -> Standing | Denied:
    assert new.terms is not None
    charged = _charged(connection, new.terms.limit, [[new]])
    if charged:
        return charged[new.id]
    found = overstep(connection, new.account_id, new.terms, len(new.recipients))
    # It fits after all: meanwhile a new day has begun, or a suspension has been lifted
    return found if isinstance(found, Denied) else _charge(connection, new)


def overstep(connection: Connection, account_id: str, terms: Terms, recipients: int) -> Denied | Standing:
    """What becomes of `recipients` that look as if they did not fit; this may suspend the account. Standing: they do fit."""
    standing = standings(connection, [account_id])[account_id]
    if fits(terms, standing, recipients):
        return standing
    lifted = terms.on_limit is OnLimit.SUSPEND and suspensions.was_lifted(connection, account_id, standing.day)
    action = consequence(terms, standing, lifted=lifted)
    if action is OnLimit.SUSPEND:
        suspensions.suspend(connection, account_id, standing.day, daily_limit=terms.limit, used=standing.used)
    return Denied(action, terms.limit, replace(standing, suspended=action is OnLimit.SUSPEND))


def _standing(day: int, used: int, at: float, *, suspended: bool = False) -> Standing:
    return Standing(day, used, max(0.0, (day + 1) * DAY - at), suspended)
