"""Sign-in over ports that a test can break: the real judge, memo and authenticator, sheets and credentials in memory."""

from typing import Protocol

from gateway.accounts.authenticator import Authenticator
from gateway.accounts.clock import Clock
from gateway.accounts.judge import Judge
from gateway.accounts.logins import Logins
from gateway.accounts.memo import Memo
from gateway.accounts.ports import AccountRows, Directory, Hasher
from gateway.accounts.seal import Seal
from gateway.config import Lockout
from gateway.metrics import Metrics
from tests.fakes import FakeCredentialBook, FakeLockoutBook


class Table(Directory, AccountRows, Protocol):
    """The product's login table."""


class History:
    """SignInHistory: every attempt noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str, str]] = []

    def note(self, subject: str, network: str, mechanism: str, result: str) -> None:
        self.noted.append((subject, network, mechanism, result))


class SignIn:
    """The parts; `rules` is [lockout], by default with every count switched off."""

    def __init__(
        self,
        table: Table,
        hasher: Hasher,
        metrics: Metrics,
        clock: Clock,
        *,
        delay: float = 0.0,
        ceiling: int = 1_000_000,
        rules: Lockout | None = None,
    ) -> None:
        off = Lockout(failures=0, account_failures=0, network_accounts=0)
        self.memo = Memo(b"k" * 32, metrics)
        self.book = FakeLockoutBook(rules or off)
        self.history = History()
        self.credentials = FakeCredentialBook()
        logins = Logins(table, table, self.credentials)
        self.judge = Judge(logins, hasher, self.memo, self.book, Seal(b"seal"), ceiling=ceiling)
        self.authenticator = Authenticator(
            self.judge, logins, hasher, self.history, self.credentials, metrics, clock, delay=delay
        )
