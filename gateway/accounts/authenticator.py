"""Signing in as a session asks for it, and the look at the row again while the session is open.

Wrong, unknown, disabled, stale and repeated get the same reply, and none gets it before `delay` is over, nor sooner than
the slowest kind of hash takes here: neither an answer from memory nor an account with a cheaper hash can be told by time.
Nothing about a row is kept from one call to the next, so a change of it counts at once.
"""

from gateway import maillog, reply
from gateway.accounts.clock import Clock, pause
from gateway.accounts.decision import Place, Result, Verdict, account_of
from gateway.accounts.judge import Judge
from gateway.accounts.lockout import account_subject
from gateway.accounts.model import Account, Credentials, LoginRow
from gateway.accounts.ports import Directory, Hasher, SignInHistory
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
        self._metrics = metrics
        self._clock = clock

    async def sign_in(self, credentials: Credentials, place: Place) -> Account:
        """The account behind `credentials`. Raises Refused with WRONG_LOGIN, AUTH_UNAVAILABLE or `reply.locked`."""
        began = self._clock.seconds()
        verdict = await self._judge.decide(credentials, place)
        if least := self._least(verdict):
            await pause(self._clock, began + least - self._clock.seconds())
        self._count(verdict, credentials.mechanism, place.network, self._clock.seconds() - began)
        if verdict.account is None:
            raise Refused(reply_for(verdict))
        return verdict.account

    async def check_open(self, account: Account) -> Account:
        """The account as its row is now, while its session is open. Raises Refused (NO_LONGER_VALID, SERVICE_ERROR)."""
        try:
            row = await self._directory.find(account.login)
            reason = _why_cut(row, account)
            if row is None or reason:
                self._metrics.sessions_cut_total.labels(reason).inc()
                maillog.sign_in_no_longer_valid(account.id, reason)
                raise Refused(reply.NO_LONGER_VALID)
            return await account_of(row, self._directory, ceiling=self._judge.ceiling)
        except Unavailable as away:
            maillog.accounts_unavailable(account.id, str(away))
            raise Refused(reply.SERVICE_ERROR) from away

    def _least(self, verdict: Verdict) -> float:
        """Seconds before which the answer must not leave. Who is locked out waits as well, or would only ask more often."""
        if verdict.result.denied:
            return max(self.delay, self._hasher.slowest)
        return self.delay if verdict.result is Result.LOCKED else 0.0

    def _count(self, verdict: Verdict, mechanism: str, network: str, seconds: float) -> None:
        result = verdict.result.value
        self._metrics.auth_attempts_total.labels(mechanism, result).inc()
        self._metrics.auth_seconds.labels(_path(verdict)).observe(seconds)
        account_id = verdict.row.id if verdict.row else ""
        maillog.sign_in(result, mechanism, seconds, account_id, network, verdict.reason)
        if account_id:
            self._history.note(account_subject(account_id), network, mechanism, result)


def reply_for(verdict: Verdict) -> reply.Reply:
    """What a client is told."""
    if verdict.result is Result.OK:
        return reply.SIGNED_IN
    if verdict.result is Result.LOCKED:
        return reply.locked(verdict.locked)
    return reply.WRONG_LOGIN if verdict.result.denied else reply.AUTH_UNAVAILABLE


def _path(verdict: Verdict) -> str:
    """The label `path`: what the time went into."""
    if verdict.from_memo:
        return "memo"
    return "hash" if verdict.result.denied or verdict.result is Result.OK else "refused"


def _why_cut(row: LoginRow | None, account: Account) -> str:
    """The label `reason` of sessions_cut_total, "" when the sign-in still holds."""
    if row is None or row.id != account.id:
        return "deleted"
    if row.stored != account.stored:
        return "password"
    return "" if row.may_sign_in else "disabled"
