"""What the rules of sign-in need from the outside, and the errors each may raise."""

from collections.abc import Awaitable
from typing import Protocol

from gateway.accounts.lockout import Attempt, Charge, Sheet
from gateway.accounts.model import Credential, LoginRow
from gateway.errors import Unavailable


class Busy(Unavailable):
    """So many password hashes wait that another one would wait too long."""


class Directory(Protocol):
    """Who signs in with a login, read live: the product's login table, with the credentials of domains beside it or not."""

    def find(self, login: str) -> Awaitable[LoginRow | None]:
        """The row of `login`, by a query that starts after this call.

        Raises Unavailable when the table cannot be read, or when two rows match (they differ in letter case only).
        """
        ...

    @property
    def case_sensitive(self) -> bool:
        """Whether two logins that differ in letter case are two accounts."""
        ...

    def key(self, login: str) -> str:
        """What all spellings of a login share, as the table compares them."""
        ...

    def aliases(self, account_id: str) -> Awaitable[frozenset[str]]:
        """Further sender addresses of the account, as `Address.key` (`exact_key` when case-sensitive). Raises Unavailable."""
        ...


class AccountRows(Protocol):
    """The product's login table, by the account's id."""

    def by_id(self, account_id: str) -> Awaitable[LoginRow | None]:
        """The row with this id, by a query that starts after this call. Raises Unavailable."""
        ...


class Domains(Protocol):
    """Which domains are an account's."""

    def belongs(self, domain: str, account_id: str) -> Awaitable[bool]:
        """Whether `domain` (`Address.domain_key`) is the account's, by a read that starts after this call.

        Raises Unavailable.
        """
        ...


class CredentialBook(Protocol):
    """The SMTP users of domains."""

    def find(self, name: str) -> Awaitable[Credential | None]:
        """The credential of this name (`Address.key`), by a read that starts after this call. Raises Unavailable."""
        ...

    def used(self, credential: Credential, network: str) -> None:
        """It has signed in from `network` now. Waits for nothing, and raises nothing."""
        ...


class Hasher(Protocol):
    """Slow password hashes, off the reactor's thread.

    `subject` is whose password it is: "a:" and the account's id, "c:" and the credential's, or "l:" and the login where there
    is no row. Networks take turns, `network` being the client's.
    """

    @property
    def slowest(self) -> float:
        """Seconds that the slowest kind of hash in the table takes here."""
        ...

    def verify(self, secret: bytes, stored: str, *, subject: str, network: str, known: bool = False) -> Awaitable[bool]:
        """Whether `secret` is the password behind `stored`; who asks the same meanwhile shares the hash.

        From a network that the account is `known` from, strangers' floods do not count.

        Raises Busy when the queue of hashes is too long; schemes.UnknownScheme when `stored` is of a kind we cannot read.
        """
        ...

    def burn(self, secret: bytes, *, subject: str, network: str) -> Awaitable[None]:
        """Spend the time of a verification, for a login that does not exist. Raises Busy."""
        ...


class LockoutBook(Protocol):
    """Failed sign-ins and what is locked because of them, shared by all processes (rules: `gateway.accounts.lockout`).

    Every method raises Unavailable when the store cannot be used.
    """

    def look(self, attempt: Attempt) -> Awaitable[Sheet]:
        """How the attempt stands, by a read that starts after this call."""
        ...

    def charge(self, attempt: Attempt) -> Awaitable[Charge]:
        """Count the attempt before its password is hashed; it is admitted only while every sheet of it has room.

        A password already counted is admitted without being counted again. Each charge that was admitted must end in
        `fail`, `refund` or `succeed`; one that does not stops counting by itself.
        """
        ...

    def fail(self, charge: Charge) -> Awaitable[None]:
        """The password was wrong. This may make locks."""
        ...

    def refund(self, charge: Charge) -> Awaitable[None]:
        """The password was not judged, or is not to count: as if it had never been charged."""
        ...

    def succeed(self, attempt: Attempt, charge: Charge | None) -> Awaitable[None]:
        """The password was right: refund, clear the sheet of account + network, and know this network.

        Without a charge, only worth a call when the sheet was `to_be_noted`.
        """
        ...


class SignInHistory(Protocol):
    """What the owner and operators see of recent sign-ins."""

    def note(self, subject: str, network: str, mechanism: str, result: str) -> None:
        """Count one attempt of an account or a credential. Waits for nothing, and raises nothing."""
        ...
