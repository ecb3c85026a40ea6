"""The one road from credentials to a verdict: live row, lockout, memo, charge, hash, outcome.

A password that the memo knows costs a read of each database and an HMAC, right or wrong, and is charged nothing. Any
other is charged before its hash starts, so that parallel guesses cannot slip past the limit, and what comes of the
hash settles the charge. A wrong password that an earlier stored hash knew is a device that has not been told of the
new one: from a network that the account is known from, it is never counted.
"""

from dataclasses import replace

from gateway.accounts.decision import Place, Result, Verdict, check, find, row_subject, settle, subject_of, undecided
from gateway.accounts.lockout import Attempt, Charge, Sheet
from gateway.accounts.memo import Memo, Recall
from gateway.accounts.model import Credentials, LoginRow
from gateway.accounts.ports import Directory, Hasher, LockoutBook
from gateway.accounts.schemes import UnknownScheme
from gateway.accounts.seal import Seal
from gateway.errors import Unavailable


class Judge:
    """Judges sign-ins. `ceiling` in octets, above which no account's message size goes; it may be replaced (reload)."""

    def __init__(
        self, directory: Directory, hasher: Hasher, memo: Memo, book: LockoutBook, seal: Seal, *, ceiling: int
    ) -> None:
        self.ceiling = ceiling
        self._directory = directory
        self._hasher = hasher
        self._memo = memo
        self._book = book
        self._seal = seal

    async def decide(self, credentials: Credentials, place: Place) -> Verdict:
        """Judge `credentials` from `place`. Raises what is a bug of ours."""
        row = None
        try:
            row = await find(credentials, self._directory)
            return await self._decide(credentials, place, row)
        except (Unavailable, UnknownScheme) as error:
            return undecided(error, row)

    async def _decide(self, credentials: Credentials, place: Place, row: LoginRow | None) -> Verdict:
        attempt = self._attempt(credentials, place, row)
        sheet = await self._book.look(attempt)
        if sheet.network_locked is None:
            return await self._judged(credentials, row, attempt, sheet)
        try:
            verdict = await self._judged(credentials, row, attempt, sheet)
        except (Unavailable, UnknownScheme) as error:
            verdict = undecided(error, row)
        # A network that is locked hears of its lock alone, or it would learn who is known there
        return verdict if verdict.result is Result.OK else replace(verdict, locked=sheet.network_locked)

    async def _judged(self, credentials: Credentials, row: LoginRow | None, attempt: Attempt, sheet: Sheet) -> Verdict:
        if sheet.locked is not None:
            return Verdict(Result.LOCKED, row, locked=sheet.locked)
        recall = self._recall(credentials, row, attempt)
        if recall is None:
            return await self._ask(credentials, row, attempt, sheet)
        return await self._remembered(recall, row, attempt, sheet)

    def _attempt(self, credentials: Credentials, place: Place, row: LoginRow | None) -> Attempt:
        subject = subject_of(row, credentials.login, self._directory)
        tag = self._seal.tag(row.stored) if row else ""
        fingerprint = self._seal.fingerprint(subject, credentials.password)
        return Attempt(subject, tag, place.network, place.trust_network, fingerprint)

    def _recall(self, credentials: Credentials, row: LoginRow | None, attempt: Attempt) -> Recall | None:
        return self._memo.recall(attempt.subject, row.stored if row else "", credentials.password)

    async def _remembered(self, recall: Recall, row: LoginRow | None, attempt: Attempt, sheet: Sheet) -> Verdict:
        if recall is not Recall.RIGHT or row is None:
            return Verdict(Result.STALE if recall is Recall.STALE else Result.REPEATED, row, from_memo=True)
        verdict = await settle(row, self._directory, ceiling=self.ceiling, from_memo=True)
        if verdict.result is Result.OK and sheet.to_be_noted:
            await self._book.succeed(attempt, None)
        return verdict

    async def _ask(self, credentials: Credentials, row: LoginRow | None, attempt: Attempt, sheet: Sheet) -> Verdict:
        """What the memo does not know: charge, hash, settle."""
        was_right = row is not None and self._memo.was_right(attempt.subject, credentials.password)
        charge = None
        if not (was_right and sheet.known):
            charge = await self._book.charge(attempt)
            if charge.locked is not None:
                return Verdict(Result.LOCKED, row, locked=charge.locked)
            recall = self._recall(credentials, row, attempt)
            if recall is not None:  # the same password came twice, and the other's hash was done while this one was charged
                await self._refund(charge)
                return await self._remembered(recall, row, attempt, sheet)
        try:
            verdict = await check(
                credentials,
                row,
                self._directory,
                self._hasher,
                ceiling=self.ceiling,
                network=attempt.network,
                known=sheet.known,
            )
        except BaseException:
            await self._refund(charge)
            raise
        return await self._settled(credentials, attempt, charge, verdict, was_right=was_right)

    async def _settled(
        self, credentials: Credentials, attempt: Attempt, charge: Charge | None, verdict: Verdict, *, was_right: bool
    ) -> Verdict:
        stored = verdict.row.stored if verdict.row else ""
        if verdict.row is not None:  # it may have moved under the hash, or be another account's by now
            attempt = replace(attempt, subject=row_subject(verdict.row), stored_tag=self._seal.tag(stored))
        if verdict.result in (Result.OK, Result.DISABLED):
            self._memo.remember(attempt.subject, stored, credentials.password, Recall.RIGHT)
            if verdict.result is Result.OK:
                await self._book.succeed(attempt, charge)
            elif charge is not None:  # counted like a wrong one, or what is left of the limit would tell that it is right
                await self._book.fail(charge)
            return verdict
        if verdict.result is Result.UNAVAILABLE:
            await self._refund(charge)
            return verdict
        recall = Recall.STALE if was_right else Recall.WRONG
        self._memo.remember(attempt.subject, stored, credentials.password, recall)
        if charge is not None:
            await self._book.fail(charge)
        return Verdict(Result.STALE, verdict.row) if was_right else verdict

    async def _refund(self, charge: Charge | None) -> None:
        if charge is not None:
            await self._book.refund(charge)
