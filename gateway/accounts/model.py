"""The values of sign-in: credentials as they came, a row of the login table, and the account they make."""

from dataclasses import dataclass, field
from functools import lru_cache

from gateway import address

MAX_LOGIN = 254  # octets
MAX_PASSWORD = 1024  # octets


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client gave at AUTH. The password is kept only while the attempt is decided."""

    login: str
    password: bytes = field(repr=False)
    mechanism: str  # "PLAIN" or "LOGIN"


@dataclass(frozen=True, slots=True)
class Credential:
    """An SMTP user of a domain: a name and a password of its own, for the account that the domain belongs to."""

    id: int
    name: str  # `Address.key`
    domain: str  # `Address.domain_key`
    account_id: str
    stored: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginRow:
    """One row of the product's login table, through the column mapping; or a credential with the row of its account.

    With a `credential`, `login` and `stored` are the credential's, and all else the account's.
    """

    id: str
    login: str
    stored: str = field(repr=False)  # the stored password hash
    active: bool = True
    smtp_enabled: bool = True
    max_message_size: int | None = None  # octets
    daily_recipients: int | None = None  # 0: no limit
    credential: Credential | None = None

    @property
    def may_sign_in(self) -> bool:
        return self.active and self.smtp_enabled


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in. `stored` is the hash that the sign-in was checked against."""

    id: str
    login: str
    message_size: int  # octets: the account's own limit, never above the ceiling
    stored: str = field(repr=False)
    addresses: frozenset[str] = frozenset()  # of the login and its aliases, `Address.key` or `exact_key`
    case_sensitive: bool = False  # whether the login table tells letter cases apart: then `exact_key`
    daily_recipients: int | None = None  # its own limit, 0 for none; None: the general one
    credential: Credential | None = None  # signed in with it: sends as its domain and nothing else

    @classmethod
    def of(
        cls, row: LoginRow, *, ceiling: int, aliases: frozenset[str] = frozenset(), case_sensitive: bool = False
    ) -> "Account":
        size = min(ceiling, row.max_message_size) if row.max_message_size else ceiling
        own = aliases | _own_address(row.login, case_sensitive=case_sensitive) if row.credential is None else frozenset()
        return cls(row.id, row.login, size, row.stored, own, case_sensitive, row.daily_recipients, row.credential)

    def owns(self, sender: address.Address) -> bool:
        """Whether `sender` is the account's login or one of its aliases, or in the domain of its credential."""
        if self.credential is not None:
            return sender.domain_key == self.credential.domain
        return (sender.exact_key if self.case_sensitive else sender.key) in self.addresses


@lru_cache(maxsize=4096)  # asked for the same logins at each MAIL and each message
def _own_address(login: str, *, case_sensitive: bool) -> frozenset[str]:
    try:
        own = address.parse(login)
        return frozenset({own.exact_key if case_sensitive else own.key})
    except address.AddressError:  # a table whose logins are not e-mail addresses: aliases have to name them
        return frozenset()
