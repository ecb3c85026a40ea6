"""Who signs in with a login: an account of the product's table, or else the SMTP user of a domain.

The table comes first and alone: a login of it needs nothing of the store here, and a credential of the same name loses to it,
also one that was there before. Nothing is kept from one call to the next, so what became of either counts at once.
"""

from dataclasses import replace

from gateway import address
from gateway.accounts.model import Credential, LoginRow
from gateway.accounts.ports import AccountRows, CredentialBook, Directory


class Logins:
    """Implements accounts.ports.Directory. `table` and `rows` are of the same login table."""

    def __init__(self, table: Directory, rows: AccountRows, credentials: CredentialBook) -> None:
        self._table = table
        self._rows = rows
        self._credentials = credentials

    async def find(self, login: str) -> LoginRow | None:
        """See the port. Raises Unavailable, also when it is not the table but the store that cannot be read."""
        row = await self._table.find(login)
        if row is not None:
            return row
        credential = await self._credential(login)
        if credential is None:
            return None
        account = await self._rows.by_id(credential.account_id)
        return _signed_in_as(credential, account) if account is not None else None

    @property
    def case_sensitive(self) -> bool:
        """See the port."""
        return self._table.case_sensitive

    def key(self, login: str) -> str:
        """See the port."""
        return self._table.key(login)

    async def aliases(self, account_id: str) -> frozenset[str]:
        """See the port."""
        return await self._table.aliases(account_id)

    async def _credential(self, login: str) -> Credential | None:
        """The credential of this name, for a login that the table does not have."""
        try:
            name = address.parse(login).key
        except address.AddressError:
            return None
        credential = await self._credentials.find(name)
        if credential is None or self._table.key(name) == self._table.key(login):
            return credential
        # Typed in another spelling (A-labels, letter case) than the table's own login of that name may be in
        return credential if await self._table.find(name) is None else None


def _signed_in_as(credential: Credential, account: LoginRow) -> LoginRow:
    """`smtp_enabled` is about the account's own password: it may live on credentials alone."""
    return replace(account, login=credential.name, stored=credential.stored, smtp_enabled=True, credential=credential)
