"""What stands in a client's way beside its password: a lockout, or a suspension for the daily limit."""

import math
from collections.abc import Iterator

from gateway import reply
from gateway.accounts.decision import Result, Verdict, subject_of
from gateway.accounts.lockout import Scope
from gateway.accounts.model import Credentials
from gateway.accounts.ports import Directory
from gateway.accounts.seal import Seal
from gateway.cli.listing import counted
from gateway.cli.settings import Settings
from gateway.errors import Unavailable
from gateway.store import lockout_listing
from gateway.store.engine import opened
from gateway.store.lockout_listing import ListedLock
from gateway.store.secret import kept_secret
from gateway.store.usage import standing_now

_MOST = 10  # lockouts told one by one: an account that many guess at may have thousands


def obstacles(verdict: Verdict, credentials: Credentials, directory: Directory, settings: Settings) -> Iterator[str]:
    """A line each. Raises nothing: without the store, the one line that says so."""
    row = verdict.row
    if row is None and verdict.result is Result.UNAVAILABLE:
        return  # nobody knows whose it is
    subject = subject_of(row, credentials.login, directory)
    try:
        with opened(settings.store_url, write=False) as connection:
            locks = [each for each in lockout_listing.active(connection) if each.subject == subject]
            suspended = row is not None and standing_now(connection, row.id).suspended
    except Unavailable as error:
        yield f"whether it is locked out or suspended is not known: {error}"
        return
    if row is not None:
        locks = _still_holding(locks, row.stored, settings)
    yield from map(_lock, locks[:_MOST])
    if locks[_MOST:]:
        yield f"locked out by {len(locks) - _MOST} lockouts more: `smtp-gateway lockouts list`"
    if row is not None and suspended:
        told = f"{reply.SUSPENDED.code} {reply.SUSPENDED.enhanced}"
        lifted = f"`smtp-gateway suspensions lift {row.id}`"
        yield f"account {row.id} is suspended for its daily limit: MAIL would get {told}; {lifted} ends that"


def _still_holding(locks: list[ListedLock], stored: str, settings: Settings) -> list[ListedLock]:
    """Without those from before the password was changed, if the key that tells them apart can be read here."""
    own = settings.own.server
    key = own.secret.get_secret_value().encode() or kept_secret(own.state_dir)
    return [lock for lock in locks if lock.stored_tag == Seal(key).tag(stored)] if key else locks


def _lock(lock: ListedLock) -> str:
    minutes = math.ceil(lock.left / 60)
    places: dict[str, str] = {
        Scope.ACCOUNT_NETWORK: lock.network,
        Scope.ACCOUNT_TRUST: f"addresses of {lock.network} where it has not signed in",
    }
    where = places.get(lock.scope, "every network that it is not known from")
    return f"locked out from {where} for {counted(minutes, 'more minute')}: from there it would get {reply.locked(0).code}"
