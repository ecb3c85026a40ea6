"""The rules of lockout: which sheets an attempt is counted on, which locks hold it up, and how long a lock lasts.

Five sheets count five things:

- account + network: different wrong passwords for one account from one network;
- account: different wrong passwords for one account from all networks that it is not known from, in a day;
- network: different accounts, existing or not, that fail from one network that none of them is known from;
- account + trust network: different wrong passwords for one account from a network that it is known from as a whole, in a day,
  but for the exact networks in it where the account has signed in: these are neither counted there nor ever held up by it;
- trust network: different accounts that fail from one wider network, again but for exact networks where they have signed in.

The limits of the last two are those of the sheets beside them, so that a lock alone does not tell which account is known where.

A sheet of an account belongs to its present stored hash (`stored_tag`), so that a changed password starts a clean one.
A sheet that is full makes a lock, and counts from zero again when that lock is over. What is counted, and the clock, are in
the store (`gateway.store.lockouts`); nothing here keeps anything.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.accounts.model import MAX_LOGIN
from gateway.config import Lockout

DAY = 86400.0  # seconds: over which an account's failures are counted, and locks double
CHARGE_GRACE = 30.0  # seconds a charge outlives `hash_wait`: by then its hash is done, or its process dead
KNOWN_NETWORKS = 50  # an account, the latest ones
TRUST_ACCOUNTS = 5  # times `network_accounts`: a wider network has many honest people in it
_DOUBLINGS = 40  # past any duration that can be configured


class Scope(StrEnum):
    """What a sheet is about, and what its lock shuts out; also the label `scope`."""

    ACCOUNT_NETWORK = "account_network"
    ACCOUNT = "account"
    NETWORK = "network"
    ACCOUNT_TRUST = "account_trust_network"
    TRUST = "trust_network"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One password tried, as it is counted: never the password itself.

    `subject` is `account_subject`, `credential_subject` or `login_subject`; `stored_tag` a short keyed digest of the stored
    hash, "" without a row; `network` what counts as one network ("192.0.2.1/32"), `trust_network` the wider one an account
    is known from; `fingerprint` 24 bits of a keyed digest of the password.
    """

    subject: str
    stored_tag: str
    network: str
    trust_network: str
    fingerprint: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """How an attempt stands: `locked` is the seconds left of the longest lock that holds it up, `scope` that lock's."""

    locked: float | None
    scope: Scope | None
    known: bool  # the account is known from this trust network
    has_failures: bool  # on the sheet of account + network, for a success to clear
    refresh_known: bool  # a success should be noted, lest the network be forgotten
    exact: bool = False  # the account has signed in from this very network
    network_locked: float | None = None  # seconds left of the network's own lock, whomever it holds up

    @property
    def to_be_noted(self) -> bool:
        """Whether a success has something to write down; most have not, and cost no write."""
        return self.has_failures or self.refresh_known


@dataclass(frozen=True, slots=True)
class Charge:
    """What became of asking for a hash: admitted, or `locked` for so many seconds.

    `id` is the charge's number in the store; None when nothing is counted for this attempt.
    """

    attempt: Attempt
    known: bool
    id: int | None = None
    locked: float | None = None
    scope: Scope | None = None
    exact: bool = False

    @property
    def admitted(self) -> bool:
        return self.locked is None


@dataclass(frozen=True, slots=True)
class SheetKey:
    """Which sheet: "" stands for all."""

    subject: str
    stored_tag: str
    network: str


def account_subject(account_id: str) -> str:
    """Whose sheets: by the account's id, so that a renamed or aliased login has one."""
    return f"a:{account_id}"


def credential_subject(credential_id: int) -> str:
    """Whose sheets, for an SMTP user of a domain: its own, so that guessing at it never locks its account."""
    return f"c:{credential_id}"


def login_subject(key: str) -> str:
    """Whose sheets, for a login without a row: its comparison key (`LoginTable.key`).

    Anybody can make such logins up. One that is not plain ASCII stands for itself as a digest, so that every store can hold it:
    PostgreSQL takes no NUL, and a database in another character set not every letter.
    """
    if key.isascii() and key.isprintable() and len(key) <= MAX_LOGIN:
        return f"l:{key}"
    return "d:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def account_id(subject: str) -> str:
    """The account's id; "" for a login without a row, which has no place in a log, and for a credential."""
    return subject[2:] if subject.startswith("a:") else ""


def credential_id(subject: str) -> int | None:
    return int(subject[2:]) if subject.startswith("c:") else None


def sheet_key(scope: Scope, attempt: Attempt) -> SheetKey:
    match scope:
        case Scope.ACCOUNT_NETWORK:
            return SheetKey(attempt.subject, attempt.stored_tag, attempt.network)
        case Scope.ACCOUNT:
            return SheetKey(attempt.subject, attempt.stored_tag, "")
        case Scope.NETWORK:
            return SheetKey("", "", attempt.network)
        case Scope.ACCOUNT_TRUST:
            return SheetKey(attempt.subject, attempt.stored_tag, attempt.trust_network)
        case Scope.TRUST:
            return SheetKey("", "", attempt.trust_network)


def scopes(rules: Lockout, attempt: Attempt, *, known: bool, exact: bool = False) -> tuple[Scope, ...]:
    """The sheets that the attempt is counted on, whose locks hold it up too; none that is switched off.

    `known`: the account is known from the trust network, `exact`: from this very network. From there, only the sheet of the two
    counts: what others do elsewhere, or here with other accounts, must not shut the owner out.
    """
    if _is_allowed(attempt.network, rules):
        return ()
    wanted = {Scope.ACCOUNT_NETWORK}
    if not known:
        wanted |= {Scope.ACCOUNT, Scope.NETWORK}
    if not exact and attempt.network != attempt.trust_network:
        wanted |= {Scope.TRUST, Scope.ACCOUNT_TRUST} if known else {Scope.TRUST}
    return tuple(scope for scope in Scope if scope in wanted and limit(rules, scope))


def limit(rules: Lockout, scope: Scope) -> int:
    """How many make a lock; 0: none ever."""
    limits = {
        Scope.ACCOUNT_NETWORK: rules.failures,
        Scope.ACCOUNT: rules.account_failures,
        Scope.NETWORK: rules.network_accounts,
        Scope.ACCOUNT_TRUST: rules.account_failures,
        Scope.TRUST: TRUST_ACCOUNTS * rules.network_accounts,
    }
    return limits[scope]


def window(rules: Lockout, scope: Scope) -> float:
    """Seconds after which a failure no longer counts."""
    return DAY if scope in (Scope.ACCOUNT, Scope.ACCOUNT_TRUST) else rules.window


def lock_seconds(rules: Lockout, earlier: int) -> float:
    """How long a lock lasts, after `earlier` ones on the same sheet within a day."""
    return min(rules.max_duration, rules.duration * 2.0 ** min(earlier, _DOUBLINGS))


def charge_life(hash_wait: float) -> float:
    """Seconds that a charge counts without being confirmed or refunded."""
    return hash_wait + CHARGE_GRACE


def is_known(rules: Lockout, seen: float | None) -> bool:
    """`seen`: seconds since the account's sign-in from this network was noted, None if never."""
    return seen is not None and seen < rules.trust_for


def is_to_be_refreshed(rules: Lockout, seen: float | None) -> bool:
    """Daily at most, and before the network is forgotten."""
    return rules.trust_for > 0 and (seen is None or seen >= min(DAY, rules.trust_for / 2))


def judge(
    rules: Lockout,
    attempt: Attempt,
    locks: Mapping[SheetKey, float],
    *,
    seen: float | None,
    seen_exact: float | None = None,
    has_failures: bool,
) -> Sheet:
    """The attempt's sheet. `locks`: seconds left of each lock on its sheets.

    `seen` as in `is_known`, of the trust network, `seen_exact` of the network itself.
    """
    exact = is_known(rules, seen_exact)
    known = exact or is_known(rules, seen)
    left, scope = _longest(rules, attempt, locks, scopes(rules, attempt, known=known, exact=exact))
    network_left, _ = _longest(rules, attempt, locks, scopes(rules, attempt, known=False), only=(Scope.NETWORK, Scope.TRUST))
    refresh = is_to_be_refreshed(rules, seen) or is_to_be_refreshed(rules, seen_exact)
    return Sheet(left, scope, known, has_failures, refresh, exact, network_left)


def _longest(
    rules: Lockout,
    attempt: Attempt,
    locks: Mapping[SheetKey, float],
    among: Iterable[Scope],
    only: Collection[Scope] = tuple(Scope),
) -> tuple[float | None, Scope | None]:
    """The lock that ends last on the sheets `among`."""
    holding = [(locks[key], scope) for scope in among if scope in only and (key := sheet_key(scope, attempt)) in locks]
    return max(holding, default=(None, None))


def _is_allowed(network: str, rules: Lockout) -> bool:
    """Whether `network` holds an allowed address: they are never locked, and a lock would be on all of the network."""
    if not rules.allow:
        return False
    ours = ipaddress.ip_network(network)
    return any(ours.version == each.version and ours.overlaps(each) for each in rules.allow)
