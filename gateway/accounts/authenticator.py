"""Signing in as a session asks for it, and the look at the row again while the session is open.

Wrong, unknown and disabled get the same reply, and none gets it before `delay` is over. Nothing about a row is kept
from one call to the next, so a change of it counts at once.
"""

from gateway import maillog, reply
from gateway.accounts.clock import Clock, pause
from gateway.accounts.decision import Result, Verdict, account_of, decide
from gateway.accounts.model import Account, Credentials
from gateway.accounts.ports import Directory, Hasher
from gateway.errors import Refused, Unavailable
from gateway.metrics import Metrics


class Authenticator:
    """Signs people in. `delay` in seconds; `ceiling` in octets, above which no account's message size goes."""

    def __init__(
        self, directory: Directory, hasher: Hasher, metrics: Metrics, clock: Clock, *, delay: float, ceiling: int
    ) -> None:
        self._directory = directory
        self._hasher = hasher
        self._metrics = metrics
        self._clock = clock
        self.delay = delay
        self.ceiling = ceiling

    async def sign_in(self, credentials: Credentials, network: str) -> Account:
        """The account behind `credentials`. `network` is where the client comes from, for the log.

        Raises Refused with WRONG_LOGIN or AUTH_UNAVAILABLE.
        """
        began = self._clock.seconds()
        verdict = await decide(credentials, self._directory, self._hasher, ceiling=self.ceiling, network=network)
        if verdict.result.denied:
            await pause(self._clock, began + self.delay - self._clock.seconds())
        self._count(verdict, credentials.mechanism, network, self._clock.seconds() - began)
        if verdict.account is None:
            raise Refused(reply_for(verdict.result))
        return verdict.account

    async def check_open(self, account: Account) -> Account:
        """The account as its row is now, while its session is open. Raises Refused (NO_LONGER_VALID, SERVICE_ERROR)."""
        try:
            row = await self._directory.find(account.login)
            if row is None or row.id != account.id or row.stored != account.stored or not row.may_sign_in:
                maillog.sign_in_no_longer_valid(account.id)
                raise Refused(reply.NO_LONGER_VALID)
            return await account_of(row, self._directory, ceiling=self.ceiling)
        except Unavailable as away:
            maillog.accounts_unavailable(account.id, str(away))
            raise Refused(reply.SERVICE_ERROR) from away

    def _count(self, verdict: Verdict, mechanism: str, network: str, seconds: float) -> None:
        hashed = verdict.result.denied or verdict.result is Result.OK
        self._metrics.auth_attempts_total.labels(mechanism, verdict.result.value).inc()
        self._metrics.auth_seconds.labels("hash" if hashed else "refused").observe(seconds)
        account_id = verdict.row.id if verdict.row else ""
        maillog.sign_in(verdict.result.value, mechanism, seconds, account_id, network, verdict.reason)


def reply_for(result: Result) -> reply.Reply:
    """What a client is told."""
    if result is Result.OK:
        return reply.SIGNED_IN
    return reply.WRONG_LOGIN if result.denied else reply.AUTH_UNAVAILABLE
