"""What becomes of one password: hashed, the row read again, and a verdict.

Wrong, unknown and disabled cost one read and one hash each. `smtp-gateway login test`
goes this way alone; the server goes it for what its memo does not know, once the lockout has let it (`judge.py`).
"""

import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.accounts.credentials import fits_random, is_random
from gateway.accounts.lockout import account_subject, credential_subject, login_subject
from gateway.accounts.model import MAX_LOGIN, MAX_PASSWORD, Account, Credentials, LoginRow
from gateway.accounts.ports import Busy, Directory, Hasher
from gateway.accounts.schemes import UnknownScheme
from gateway.errors import Unavailable

_ROUNDS = 2  # hashes tried when the row moves meanwhile: frameworks rehash at a sign-in on the site


class Result(StrEnum):
    """What an attempt came to: the values of the label `result`."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    DISABLED = "disabled"
    STALE = "stale"  # wrong now, and right under an earlier stored hash
    REPEATED = "repeated"  # wrong before, and refused from memory
    LOCKED = "locked"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"

    @property
    def denied(self) -> bool:
        """Whether the client is told that its login or password is wrong, which of them is never said."""
        return self in (Result.WRONG, Result.UNKNOWN, Result.DISABLED, Result.STALE, Result.REPEATED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An attempt decided. `row` when there is one, `account` with OK alone; `reason` is for the log."""

    result: Result
    row: LoginRow | None = None
    account: Account | None = field(default=None, repr=False)
    reason: str = ""
    locked: float = 0.0  # seconds left of the lock that is told; with LOCKED, and with all but OK from a locked network
    from_memo: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client is: its network as failures count, and the wider one that an account is known from."""

    network: str
    trust_network: str


async def find(credentials: Credentials, directory: Directory) -> LoginRow | None:
    """The row that these credentials are about, read now. Raises Unavailable."""
    return await directory.find(credentials.login) if plausible(credentials) else None


async def check(
    credentials: Credentials,
    row: LoginRow | None,
    directory: Directory,
    hasher: Hasher,
    *,
    ceiling: int,
    network: str = "",
    known: bool = False,
) -> Verdict:
    """Hash the password against `row`; no account's message size goes above `ceiling`, in octets.

    Raises Busy, UnknownScheme, Unavailable.
    """
    if row is None:
        await hasher.burn(credentials.password, subject=subject_of(None, credentials.login, directory), network=network)
        return Verdict(Result.UNKNOWN)
    for _ in range(_ROUNDS):
        if not await _fits(credentials.password, row, hasher, network, known=known):
            return Verdict(Result.WRONG, row)
        if not row.may_sign_in:  # at once, since another read would tell it from a wrong password by time
            return Verdict(Result.DISABLED, row)
        again = await directory.find(credentials.login)
        if again is None:
            return Verdict(Result.UNKNOWN, row)
        if (row_subject(again), again.id, again.stored) == (row_subject(row), row.id, row.stored):
            return await settle(again, directory, ceiling=ceiling)
        row = again
    return Verdict(Result.UNAVAILABLE, row, reason="the stored hash keeps changing")


async def _fits(secret: bytes, row: LoginRow, hasher: Hasher, network: str, *, known: bool) -> bool:
    """A random password of a credential needs no slow hash, but refusing it costs one, as for every other login."""
    subject = row_subject(row)
    if row.credential is None or not is_random(row.stored):
        return await hasher.verify(secret, row.stored, subject=subject, network=network, known=known)
    right = fits_random(secret, row.stored)
    if not (right and row.may_sign_in):
        await hasher.burn(secret, subject=subject, network=network)
    return right


async def settle(row: LoginRow, directory: Directory, *, ceiling: int, from_memo: bool = False) -> Verdict:
    """The verdict on a right password. Raises Unavailable."""
    if not row.may_sign_in:
        return Verdict(Result.DISABLED, row, from_memo=from_memo)
    return Verdict(Result.OK, row, await account_of(row, directory, ceiling=ceiling), from_memo=from_memo)


def undecided(error: Unavailable | UnknownScheme, row: LoginRow | None) -> Verdict:
    """The verdict when something that is needed could not be had."""
    return Verdict(Result.BUSY if isinstance(error, Busy) else Result.UNAVAILABLE, row, reason=str(error))


def subject_of(row: LoginRow | None, login: str, directory: Directory) -> str:
    """Whose password it is, for the hash pool, the memo and the lockout; `row` is that of `login`, if it has one."""
    return login_subject(directory.key(login)) if row is None else row_subject(row)


def row_subject(row: LoginRow) -> str:
    """A credential's password is its own, and not its account's."""
    return account_subject(row.id) if row.credential is None else credential_subject(row.credential.id)


def plausible(credentials: Credentials) -> bool:
    """Whether a row can have this login, so that asking the table is worth it."""
    login = credentials.login
    if not login or len(credentials.password) > MAX_PASSWORD or len(login.encode("utf-8", "surrogatepass")) > MAX_LOGIN:
        return False
    return login.isprintable() or not any(unicodedata.category(c) in {"Cc", "Cs"} for c in login)


async def account_of(row: LoginRow, directory: Directory, *, ceiling: int) -> Account:
    """The account of a row, with its aliases, which a credential has not. Raises Unavailable."""
    aliases = await directory.aliases(row.id) if row.credential is None else frozenset[str]()
    return Account.of(row, ceiling=ceiling, aliases=aliases, case_sensitive=directory.case_sensitive)
