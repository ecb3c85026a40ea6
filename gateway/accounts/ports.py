"""What the rules of sign-in need from the outside, and the errors each may raise."""

from collections.abc import Awaitable
from typing import Protocol

from gateway.accounts.model import LoginRow
from gateway.errors import Unavailable


class Busy(Unavailable):
    """So many password hashes wait that another one would wait too long."""


class Directory(Protocol):
    """The product's login table, read live."""

    def find(self, login: str) -> Awaitable[LoginRow | None]:
        """The row of `login`, by a query that starts after this call.

        Raises Unavailable when the table cannot be read, or when two rows match (they differ in letter case only).
        """
        ...

    def aliases(self, account_id: str) -> Awaitable[frozenset[str]]:
        """Further sender addresses of the account, as `Address.key`. Raises Unavailable."""
        ...


class Hasher(Protocol):
    """Slow password hashes, off the reactor's thread.

    `subject` is whose password it is: "a:" and the account's id, or "l:" and the login where there is no row. Networks
    take turns, `network` being the client's.
    """

    def verify(self, secret: bytes, stored: str, *, subject: str, network: str) -> Awaitable[bool]:
        """Whether `secret` is the password behind `stored`; who asks the same meanwhile shares the hash.

        Raises Busy when the queue of hashes is too long; schemes.UnknownScheme when `stored` is of a kind we cannot read.
        """
        ...

    def burn(self, secret: bytes, *, subject: str, network: str) -> Awaitable[None]:
        """Spend the time of a verification, for a login that does not exist. Raises Busy."""
        ...
