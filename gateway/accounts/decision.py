"""What becomes of one attempt to sign in: the road from credentials to a verdict, without its wait, count and log.

DESIGN.md section 5: syntax, live row, hash, row again. Wrong, unknown and disabled cost one read and one hash each.
`smtp-gateway login test` walks the same road.
"""

import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

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
    BUSY = "busy"
    UNAVAILABLE = "unavailable"

    @property
    def denied(self) -> bool:
        """Whether the client is told that its login or password is wrong, which of them is never said."""
        return self in (Result.WRONG, Result.UNKNOWN, Result.DISABLED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An attempt decided. `row` when there is one, `account` with OK alone; `reason` is for the log."""

    result: Result
    row: LoginRow | None = None
    account: Account | None = field(default=None, repr=False)
    reason: str = ""


async def decide(credentials: Credentials, directory: Directory, hasher: Hasher, *, ceiling: int, network: str = "") -> Verdict:
    """Judge `credentials` from `network`; no account's message size goes above `ceiling`, in octets.

    Raises what is a bug of ours.
    """
    row = None
    try:
        if plausible(credentials):
            row = await directory.find(credentials.login)
        if row is None:
            await hasher.burn(credentials.password, subject=subject_of(row, credentials.login), network=network)
            return Verdict(Result.UNKNOWN)
        return await _verify(credentials, row, directory, hasher, ceiling, network)
    except UnknownScheme as unknown:
        return Verdict(Result.UNAVAILABLE, row, reason=str(unknown))
    except Busy as busy:
        return Verdict(Result.BUSY, row, reason=str(busy))
    except Unavailable as away:
        return Verdict(Result.UNAVAILABLE, row, reason=str(away))


def subject_of(row: LoginRow | None, login: str) -> str:
    """Whose password it is, for the hash pool, the memo and the lockout; `row` is that of `login`, if it has one."""
    return f"l:{login.casefold()}" if row is None else f"a:{row.id}"


def plausible(credentials: Credentials) -> bool:
    """Whether a row can have this login, so that asking the table is worth it."""
    login = credentials.login
    if not login or len(credentials.password) > MAX_PASSWORD or len(login.encode("utf-8", "surrogatepass")) > MAX_LOGIN:
        return False
    return not any(unicodedata.category(c) in {"Cc", "Cs"} for c in login)


async def account_of(row: LoginRow, directory: Directory, *, ceiling: int) -> Account:
    """The account of a row, with its aliases. Raises Unavailable."""
    return Account.of(row, ceiling=ceiling, aliases=await directory.aliases(row.id))


async def _verify(
    credentials: Credentials, row: LoginRow, directory: Directory, hasher: Hasher, ceiling: int, network: str
) -> Verdict:
    for _ in range(_ROUNDS):
        subject = subject_of(row, credentials.login)
        if not await hasher.verify(credentials.password, row.stored, subject=subject, network=network):
            return Verdict(Result.WRONG, row)
        if not row.may_sign_in:  # at once, since another read would tell it from a wrong password by time
            return Verdict(Result.DISABLED, row)
        again = await directory.find(credentials.login)
        if again is None:
            return Verdict(Result.UNKNOWN, row)
        if (again.id, again.stored) == (row.id, row.stored):
            return await _settle(again, directory, ceiling)
        row = again
    return Verdict(Result.UNAVAILABLE, row, reason="the stored hash keeps changing")


async def _settle(row: LoginRow, directory: Directory, ceiling: int) -> Verdict:
    if not row.may_sign_in:  # since it was read first
        return Verdict(Result.DISABLED, row)
    return Verdict(Result.OK, row, await account_of(row, directory, ceiling=ceiling))
