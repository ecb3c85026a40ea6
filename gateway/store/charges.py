"""What one transaction does with an account's day: look how it stands, charge recipients, deny what is over the limit.

Theory of operation. A charge is one statement, and the condition is in it, so no number of sessions and processes at once
oversteps a limit: SQLite has one writer at a time, and PostgreSQL looks at the row once more after it has waited for its
lock. A message that is rolled back takes its charge with it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
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
from gateway.store.schema import suspension, usage_day

USED = usage_day.c.to_recipients + usage_day.c.cc_recipients + usage_day.c.bcc_recipients

_ACCOUNT = bindparam("account", type_=Text)
_LIMIT = bindparam("limit", type_=BigInteger)
_RECIPIENTS = bindparam("recipients", type_=Integer)
_SUSPENDED = exists().where(suspension.c.account_id == _ACCOUNT, suspensions.HOLDS)
_FIRST_OF_DAY: dict[str, ColumnElement[Any]] = {
    "account_id": _ACCOUNT,
    "day": today(),
    "messages": literal_column("1"),
    **{f"{field}_recipients": bindparam(field.value, type_=Integer) for field in Field},
    "bytes": bindparam("bytes", type_=BigInteger),
    "refusals": literal_column("0"),
}
_NEW = insert(usage_day).from_select(
    list(_FIRST_OF_DAY), select(*_FIRST_OF_DAY.values()).where(or_(_LIMIT == 0, _RECIPIENTS <= _LIMIT), ~_SUSPENDED)
)
_CHARGE = _NEW.on_conflict_do_update(
    index_elements=[usage_day.c.account_id, usage_day.c.day],
    set_={name: usage_day.c[name] + _NEW.excluded[name] for name in _FIRST_OF_DAY if name not in ("account_id", "day")},
    where=or_(_LIMIT == 0, USED + _RECIPIENTS <= _LIMIT),
).returning(usage_day.c.day, USED.label("used"), now().label("at"))

_ACCOUNTS: BindParameter[Any] = bindparam("accounts", expanding=True)
_STANDINGS = union_all(
    select(literal("clock").label("what"), literal("").label("account_id"), now().label("value")),
    select(literal("used"), usage_day.c.account_id, cast(USED, Double)).where(
        usage_day.c.account_id.in_(_ACCOUNTS), usage_day.c.day == today()
    ),
    select(literal("suspended"), suspension.c.account_id, cast(0, Double)).where(
        suspension.c.account_id.in_(_ACCOUNTS), suspensions.HOLDS
    ),
)


def standings(connection: Connection, accounts: Collection[str]) -> dict[str, Standing]:
    """How each of these accounts stands now."""
    found = {(row.what, row.account_id): row.value for row in connection.execute(_STANDINGS, {"accounts": list(accounts)})}
    at = found["clock", ""]
    return {
        account: _standing(int(at // DAY), int(found.get(("used", account), 0)), at, suspended=("suspended", account) in found)
        for account in accounts
    }


def charge(connection: Connection, new: NewMessage, terms: Terms) -> Standing | Denied:
    """Charge the message to its account; how that stands afterwards. Denied, and nothing charged, when it may not."""
    by_field = Counter(one.field for one in new.recipients)
    values = {
        "account": new.account_id,
        "limit": terms.limit,
        "recipients": len(new.recipients),
        **{field.value: by_field[field] for field in Field},
        "bytes": new.size,
    }
    row = connection.execute(_CHARGE, values).one_or_none()
    if row is not None:
        return _standing(row.day, row.used, row.at)
    found = overstep(connection, new.account_id, terms, len(new.recipients))
    # It fits after all: meanwhile a new day has begun, or a suspension has been lifted
    return found if isinstance(found, Denied) else charge(connection, new, terms)


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
