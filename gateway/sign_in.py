"""Signing in, wired: its tables, hash threads, memo, lockout and history as one thing that starts, reloads and stops."""

import secrets
import time
from functools import partial
from typing import Any

from gateway.accounts.authenticator import Authenticator
from gateway.accounts.judge import Judge
from gateway.accounts.logins import Logins
from gateway.accounts.memo import Memo
from gateway.accounts.seal import Seal
from gateway.accounts.verifier import Verifier
from gateway.config import Config
from gateway.hashing import Hashing
from gateway.metrics import Metrics
from gateway.share import Share
from gateway.store.credentials import SqlCredentials
from gateway.store.database import Database
from gateway.store.directory import SqlDirectory
from gateway.store.domains import SqlDomains
from gateway.store.lockouts import SqlLockoutBook
from gateway.store.secret import state_secret
from gateway.store.sign_ins import SqlSignInHistory
from gateway.store.store_clock import StoreClock
from gateway.upkeep import in_steps

HASH_SAMPLE = 200  # rows whose kind of hash decides what an unknown login costs
SWEEP_STEP = 500  # rows in one transaction


class SignIn:
    """The parts of sign-in over `database`. The constructor raises ConfigError."""

    def __init__(
        self, settings: Config, reactor: Any, database: Database, clock: StoreClock, metrics: Metrics, share: Share
    ) -> None:
        self._reactor = reactor
        self._hashing = Hashing(settings.server.state_dir, reactor, share)
        self.directory = SqlDirectory(
            settings.accounts, aliases=settings.senders.aliases, reactor=reactor, metrics=metrics, clock=time.monotonic
        )
        self._verifier = Verifier(
            self._hashing.people,
            self._hashing.guessers,
            metrics,
            reactor,
            hash_wait=settings.limits.hash_wait,
            pepper=settings.accounts.pepper.get_secret_value().encode(),
        )
        self.lockouts = SqlLockoutBook(database, settings.lockout, metrics, hash_wait=settings.limits.hash_wait)
        self.history = SqlSignInHistory(database, clock.now)
        self.domains = SqlDomains(database)
        self.credentials = SqlCredentials(database, clock.now)
        logins = Logins(self.directory, self.directory, self.credentials)
        memo = Memo(secrets.token_bytes(32), metrics)
        self._judge = Judge(logins, self._verifier, memo, self.lockouts, _seal(settings), ceiling=settings.limits.message_size)
        self.authenticator = Authenticator(
            self._judge,
            logins,
            self._verifier,
            self.history,
            self.credentials,
            metrics,
            reactor,
            delay=settings.lockout.delay,
        )

    def start(self) -> None:
        self._hashing.start()
        self.directory.start()

    async def stop(self) -> None:
        """What is still in memory is written by `flush`, while the store is open."""
        await self.directory.stop()
        self._hashing.stop()

    def reload(self, new: Config) -> None:
        """Take limits and lockout; the login table needs a restart."""
        self.authenticator.delay = new.lockout.delay
        self._judge.ceiling = new.limits.message_size
        self._verifier.hash_wait = self.lockouts.hash_wait = new.limits.hash_wait
        self.lockouts.rules = new.lockout

    async def learn_hashes(self) -> None:
        """See which kinds of hash there are in the table, and how long they take. Raises Unavailable.

        The kind of chosen passwords of SMTP users among them, or the first guess at one would take longer than at nobody's.
        """
        await self.directory.reachable()  # the whole look-up: a column that is not there is said at the start
        self._verifier.learn([*await self.directory.sample(HASH_SAMPLE), *await self.credentials.sample()])
        await self._verifier.time_kinds()

    async def flush(self) -> None:
        """Write down what was counted in memory. Raises Unavailable; it is then kept for the next time."""
        await self.history.flush()
        await self.credentials.flush()

    async def sweep(self) -> None:
        """Forget what is too old to count, in small steps. Raises Unavailable."""
        for sweep in (self.lockouts.sweep, self.history.sweep):
            await in_steps(partial(sweep, SWEEP_STEP), self._reactor)


def _seal(settings: Config) -> Seal:
    """Keyed by `server.secret`, which machines share, else by a secret of this state directory."""
    shared = settings.server.secret.get_secret_value().encode()
    return Seal(shared or state_secret(settings.server.state_dir, secrets.token_bytes))
