"""What one transaction does with the sheets of failed sign-ins: look, charge, confirm, refund, clear.

A row of `failure` is a charge until its password is known to be wrong. Different passwords are told apart by fingerprint,
different accounts by subject. A sheet counts from its latest lock on, and what it counts is read where it is needed,
by an index: there are no totals that could go wrong.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Float,
    Select,
    and_,
    bindparam,
    delete,
    distinct,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from gateway.accounts import lockout as rules_of
from gateway.accounts.lockout import DAY, KNOWN_NETWORKS, Attempt, Charge, Scope, Sheet, SheetKey
from gateway.config import Lockout
from gateway.store.clock import now
from gateway.store.schema import failure, known_network, lockout

_LOCK_KEY = 7268372  # any number of our own; that of the migrations is another
_NOTHING: ColumnElement[float] = literal_column("0.0", Float)


def _kind(kind: str) -> ColumnElement[str]:
    return literal_column(f"'{kind}'").label("kind")


def _those(table: Any, pairs: str) -> ColumnElement[bool]:
    """One look into the index for each pair of subject and network."""
    return tuple_(table.c.subject, table.c.network).in_(bindparam(pairs, expanding=True))


_LOOK = union_all(
    select(_kind("lock"), lockout.c.subject, lockout.c.stored_tag, lockout.c.network, lockout.c.until - now())
    .where(_those(lockout, "locks"), lockout.c.until > now()),
    select(_kind("known"), known_network.c.subject, literal_column("''"), known_network.c.network, now() - known_network.c.seen)
    .where(_those(known_network, "trusted")),
    select(_kind("failure"), failure.c.subject, literal_column("''"), failure.c.network, _NOTHING)
    .where(_those(failure, "failing"))
    .distinct(),
)  # fmt: skip


def _counted(scope: Scope) -> Select[Any]:
    """How many a sheet holds, from its latest lock on."""
    since = (
        select(func.coalesce(func.max(lockout.c.at), 0.0))
        .where(
            lockout.c.subject == bindparam("lock_subject"),
            lockout.c.stored_tag == bindparam("lock_tag"),
            lockout.c.network == bindparam("lock_network"),
        )
        .scalar_subquery()
    )
    counted = select(func.count(distinct(_what(scope)))).where(_sheet(scope))
    return counted.where(failure.c.at > now() - bindparam("window"), failure.c.at > since)


def _what(scope: Scope) -> ColumnElement[Any]:
    return failure.c.subject if scope in (Scope.NETWORK, Scope.TRUST) else failure.c.fingerprint


def _sheet(scope: Scope) -> ColumnElement[bool]:
    subject, network = failure.c.subject == bindparam("subject"), failure.c.network == bindparam("network")
    trust_network = failure.c.trust_network == bindparam("trust_network")
    present = failure.c.stored_tag == bindparam("stored_tag")
    match scope:
        case Scope.ACCOUNT_NETWORK:
            return and_(subject, network, present)
        case Scope.ACCOUNT:
            return and_(subject, present, not_(failure.c.known))
        case Scope.NETWORK:  # under whatever hash: the other accounts' present ones are not at hand
            return and_(network, not_(failure.c.known))
        case Scope.ACCOUNT_TRUST:
            return and_(subject, present, trust_network, not_(failure.c.exact))
        case Scope.TRUST:
            return and_(trust_network, not_(failure.c.exact))


_CONFIRMED = {scope: _counted(scope).where(failure.c.confirmed) for scope in Scope}
_LIVE_CHARGE = failure.c.at > now() - bindparam("life")
_OTHERS = {
    scope: _counted(scope).where(or_(failure.c.confirmed, _LIVE_CHARGE), _what(scope) != bindparam("mine")) for scope in Scope
}
_CHARGE = insert(failure).values(at=now(), confirmed=False).returning(failure.c.id)
_CONFIRM = update(failure).where(failure.c.id == bindparam("charge")).values(confirmed=True)
_FORGET_REPEATED = delete(failure).where(
    failure.c.subject == bindparam("subject"),
    failure.c.network == bindparam("network"),
    failure.c.stored_tag == bindparam("stored_tag"),
    failure.c.fingerprint == bindparam("fingerprint"),
    failure.c.id != bindparam("charge"),
)
_REFUND = delete(failure).where(failure.c.id == bindparam("charge"))
_EARLIER_LOCKS = select(func.count()).where(
    lockout.c.subject == bindparam("subject"),
    lockout.c.stored_tag == bindparam("stored_tag"),
    lockout.c.network == bindparam("network"),
    lockout.c.at > now() - DAY,
)
_LOCK = insert(lockout).values(at=now(), until=now() + bindparam("seconds"))
# Other clients' running charges stay: their wrong passwords are still to be counted.
_CLEAR_FAILURES = delete(failure).where(
    failure.c.subject == bindparam("subject"),
    failure.c.network == bindparam("network"),
    or_(failure.c.confirmed, not_(_LIVE_CHARGE), failure.c.id == bindparam("charge")),
)
_CLEAR_LOCKS = delete(lockout).where(lockout.c.subject == bindparam("subject"), lockout.c.network == bindparam("network"))
_OF_NETWORK = and_(known_network.c.subject == bindparam("b_subject"), known_network.c.network == bindparam("b_network"))
_SEEN = select(known_network.c.network, now() - known_network.c.seen).where(
    known_network.c.subject == bindparam("subject"), known_network.c.network.in_(bindparam("networks", expanding=True))
)
_KNOW = insert(known_network).values(seen=now())
_SEE_AGAIN = update(known_network).where(_OF_NETWORK).values(seen=now())
_ALIKE = known_network.c.network.like(bindparam("alike"))  # of one size: exact ones must not push out trust networks
_FORGET_OLDEST = delete(known_network).where(
    known_network.c.subject == bindparam("subject"),
    known_network.c.network.in_(
        select(known_network.c.network)
        .where(known_network.c.subject == bindparam("subject"), _ALIKE)
        .order_by(known_network.c.seen.desc())
        .offset(KNOWN_NETWORKS)
    ),
)
ACTIVE = select(lockout.c.scope, func.count()).where(lockout.c.until > now()).group_by(lockout.c.scope)


def look(connection: Connection, rules: Lockout, attempts: Iterable[Attempt]) -> dict[Attempt, Sheet]:
    """The sheets of all `attempts`, by one statement."""
    attempts = list(attempts)
    keys = {rules_of.sheet_key(scope, attempt) for attempt in attempts for scope in Scope}
    pairs = {
        "locks": sorted({(key.subject, key.network) for key in keys}),
        "trusted": sorted({(each.subject, network) for each in attempts for network in (each.trust_network, each.network)}),
        "failing": sorted({(each.subject, each.network) for each in attempts}),
    }
    found: dict[str, dict[SheetKey, float]] = {"lock": {}, "known": {}, "failure": {}}
    for kind, subject, stored_tag, network, seconds in connection.execute(_LOOK, pairs):
        found[kind][SheetKey(subject, stored_tag, network)] = seconds
    return {each: _judge(rules, each, found) for each in attempts}


def _judge(rules: Lockout, attempt: Attempt, found: dict[str, dict[SheetKey, float]]) -> Sheet:
    own = SheetKey(attempt.subject, "", attempt.network)
    seen = found["known"].get(SheetKey(attempt.subject, "", attempt.trust_network))
    exactly, failing = found["known"].get(own), own in found["failure"]
    return rules_of.judge(rules, attempt, found["lock"], seen=seen, seen_exact=exactly, has_failures=failing)


def _take_turn(connection: Connection) -> None:
    """Until the commit nobody else charges: what is counted holds until what follows from it is written down.

    SQLite has one writer anyway. One lock for all sheets, because an attempt is counted on several, each shared with others.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))


def charge(connection: Connection, rules: Lockout, attempt: Attempt, life: float) -> Charge:
    """Admit the attempt while all its sheets have room, and put its charge down, which counts for `life` seconds."""
    _take_turn(connection)
    sheet = look(connection, rules, [attempt])[attempt]
    if sheet.locked is not None:
        return Charge(attempt, sheet.known, locked=sheet.locked, scope=sheet.scope, exact=sheet.exact)
    scopes = rules_of.scopes(rules, attempt, known=sheet.known, exact=sheet.exact)
    for scope in scopes:
        mine = attempt.subject if scope in (Scope.NETWORK, Scope.TRUST) else attempt.fingerprint
        others = connection.execute(_OTHERS[scope], {**_parameters(rules, scope, attempt), "life": life, "mine": mine})
        if others.scalar_one() >= rules_of.limit(rules, scope):
            # No lock yet: those before us are still being hashed, and how they end decides.
            return Charge(attempt, sheet.known, locked=life, scope=scope, exact=sheet.exact)
    return Charge(attempt, sheet.known, _insert(connection, attempt, sheet) if scopes else None, exact=sheet.exact)


def _insert(connection: Connection, attempt: Attempt, sheet: Sheet) -> int:
    standing = {"trust_network": attempt.trust_network, "known": sheet.known, "exact": sheet.exact}
    new = {**_columns(attempt), **standing, "fingerprint": attempt.fingerprint}
    return int(connection.execute(_CHARGE, new).scalar_one())


def _columns(of: Attempt | SheetKey) -> dict[str, Any]:
    return {"subject": of.subject, "stored_tag": of.stored_tag, "network": of.network}


def _parameters(rules: Lockout, scope: Scope, attempt: Attempt) -> dict[str, Any]:
    key = rules_of.sheet_key(scope, attempt)
    locks = {"lock_subject": key.subject, "lock_tag": key.stored_tag, "lock_network": key.network}
    own = {**_columns(attempt), "trust_network": attempt.trust_network}
    return {**own, **locks, "window": rules_of.window(rules, scope)}


def refund(connection: Connection, charge: int) -> None:
    """Take the charge out."""
    connection.execute(_REFUND, {"charge": charge})


def fail(connection: Connection, rules: Lockout, charge: Charge) -> list[tuple[Scope, float]]:
    """Confirm; the locks that this makes, with their seconds."""
    _take_turn(connection)
    if not connection.execute(_CONFIRM, {"charge": charge.id}).rowcount:
        return []  # an operator has cleared the sheet meanwhile
    attempt = charge.attempt
    own = {"fingerprint": attempt.fingerprint, "charge": charge.id}
    connection.execute(_FORGET_REPEATED, {**_columns(attempt), **own})
    made = []
    for scope in rules_of.scopes(rules, attempt, known=charge.known, exact=charge.exact):
        held = connection.execute(_CONFIRMED[scope], _parameters(rules, scope, attempt)).scalar_one()
        if held >= rules_of.limit(rules, scope):
            made.append((scope, _lock(connection, rules, scope, attempt)))
    return made


def _lock(connection: Connection, rules: Lockout, scope: Scope, attempt: Attempt) -> float:
    key = _columns(rules_of.sheet_key(scope, attempt))
    seconds = rules_of.lock_seconds(rules, connection.execute(_EARLIER_LOCKS, key).scalar_one())
    connection.execute(_LOCK, {**key, "scope": scope.value, "seconds": seconds})
    return seconds


def succeed(connection: Connection, rules: Lockout, attempt: Attempt, charge: int | None, life: float) -> None:
    """Clear the sheet of account + network, the charge with the number `charge` included, and know both networks."""
    _take_turn(connection)
    pair = {"subject": attempt.subject, "network": attempt.network}
    connection.execute(_CLEAR_FAILURES, {**pair, "charge": charge, "life": life})
    connection.execute(_CLEAR_LOCKS, pair)
    networks = list(dict.fromkeys((attempt.trust_network, attempt.network)))
    found = dict(tuple(row) for row in connection.execute(_SEEN, {"subject": attempt.subject, "networks": networks}))
    for network in networks:
        if rules_of.is_to_be_refreshed(rules, found.get(network)):
            _see(connection, attempt.subject, network, again=network in found)


def _see(connection: Connection, subject: str, network: str, *, again: bool) -> None:
    if again:
        connection.execute(_SEE_AGAIN, {"b_subject": subject, "b_network": network})
        return
    connection.execute(_KNOW, {"subject": subject, "network": network})
    connection.execute(_FORGET_OLDEST, {"subject": subject, "alike": "%/" + network.rpartition("/")[2]})


def delete_oldest(column: Any, keep: float, limit: int) -> Delete:
    """Delete at most `limit` rows of the column's table where it is more than `keep` seconds ago."""
    key = column.table.primary_key.columns
    old = select(*key).where(column < now() - keep).order_by(column).limit(limit).with_for_update(skip_locked=True)
    return delete(column.table).where(tuple_(*key).in_(old))
