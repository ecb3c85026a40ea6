"""Signing in as a session asks for it, and the look at the row again while the session is open.

Wrong, unknown, disabled, stale and repeated get the same reply, and none gets it before `delay` is over, nor sooner than
the slowest kind of hash takes here: neither an answer from memory nor an account with a cheaper hash can be told by time.
Nothing about a row is kept from one call to the next, so a change of it counts at once.
"""

from gateway import maillog, reply
from gateway.accounts.clock import Clock, pause
from gateway.accounts.decision import Place, Result, Verdict, account_of, row_subject
from gateway.accounts.judge import Judge
from gateway.accounts.model import Account, Credentials, LoginRow
from gateway.accounts.ports import CredentialBook, Directory, Hasher, SignInHistory
from gateway.errors import Refused, Unavailable
from gateway.metrics import Metrics


class Authenticator:
    """Signs people in. `delay` in seconds; it may be replaced at any time (reload)."""

    def __init__(
        self,
        judge: Judge,
        directory: Directory,
        hasher: Hasher,
        history: SignInHistory,
        credentials: CredentialBook,
        metrics: Metrics,
        clock: Clock,
        *,
        delay: float,
    ) -> None:
        self.delay = delay
        self._judge = judge
        self._directory = directory
        self._hasher = hasher
        self._history = history
        self._credentials = credentials
        self._metrics = metrics
        self._clock = clock

    async def sign_in(self, credentials: Credentials, place: Place) -> Account:
        """The account behind `credentials`. Raises Refused with WRONG_LOGIN, AUTH_UNAVAILABLE, AUTH_BUSY or `reply.locked`."""
        began = self._clock.seconds()
        verdict = await self._judge.decide(credentials, place)
        if least := self._least(verdict):
            await pause(self._clock, began + least - self._clock.seconds())
        self._count(verdict, credentials.mechanism, place.network, self._clock.seconds() - began)
        if verdict.account is None:
            raise Refused(reply_for(verdict))
        if verdict.account.credential is not None:
            self._credentials.used(verdict.account.credential, place.network)
        return verdict.account

    async def check_open(self, account: Account) -> Account:
        """The account as its row is now, while its session is open. Raises Refused (NO_LONGER_VALID, SERVICE_ERROR)."""
        try:
            row = await self._directory.find(account.login)
            reason = _why_cut(row, account)
            if row is None or reason:
                self._metrics.sessions_cut_total.labels(reason).inc()
                maillog.sign_in_no_longer_valid(account.id, reason, _credential_id(account))
                raise Refused(reply.NO_LONGER_VALID)
            return await account_of(row, self._directory, ceiling=self._judge.ceiling)
        except Unavailable as away:
            maillog.accounts_unavailable(account.id, str(away))
            raise Refused(reply.SERVICE_ERROR) from away

    def _least(self, verdict: Verdict) -> float:
        """Seconds before which the answer must not leave.

        A client that is locked out waits as well, or it would only ask more often; so does one that cannot be answered, or the
        question that cannot be answered would be the cheapest one. One that is told to come again later has waited already.
        """
        if verdict.result.denied or verdict.locked:
            return max(self.delay, self._hasher.slowest)
        return self.delay if verdict.result is Result.UNAVAILABLE else 0.0

    def _count(self, verdict: Verdict, mechanism: str, network: str, seconds: float) -> None:
        result = verdict.result.value
        self._metrics.auth_attempts_total.labels(mechanism, result).inc()
        self._metrics.auth_seconds.labels(_path(verdict)).observe(seconds)
        row = verdict.row
        of = (row.id, _credential_id(row)) if row is not None else ("", None)
        maillog.sign_in(result, mechanism, seconds, of[0], network, verdict.reason, of[1])
        if row is not None:
            self._history.note(row_subject(row), network, mechanism, result)


def reply_for(verdict: Verdict) -> reply.Reply:
    """What a client is told."""
    if verdict.result is Result.OK:
        return reply.SIGNED_IN
    if verdict.locked:
        return reply.locked(verdict.locked)
    if verdict.result is Result.BUSY:
        return reply.AUTH_BUSY
    return reply.WRONG_LOGIN if verdict.result.denied else reply.AUTH_UNAVAILABLE


def _path(verdict: Verdict) -> str:
    """The label `path`: what the time went into."""
    if verdict.from_memo:
        return "memo"
    return "hash" if verdict.result.denied or verdict.result is Result.OK else "refused"


def _why_cut(row: LoginRow | None, account: Account) -> str:
    """The label `reason` of sessions_cut_total, "" when the sign-in still holds."""
    if row is None or row.id != account.id or _credential_id(row) != _credential_id(account):
        return "deleted"
    if row.stored != account.stored:
        return "password"
    return "" if row.may_sign_in else "disabled"


def _credential_id(of: LoginRow | Account) -> int | None:
    return of.credential.id if of.credential is not None else None
