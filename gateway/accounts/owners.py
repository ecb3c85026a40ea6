"""Which account owns an address now: by its login, its aliases and its domains, read when it is asked."""

from gateway.accounts.model import Account
from gateway.accounts.ports import AccountRows, Directory, Domains
from gateway.address import AddressError, parse


class Owners:
    """Over the login table (`rows` and `directory`) and the domains of accounts."""

    def __init__(self, rows: AccountRows, directory: Directory, domains: Domains) -> None:
        self._rows = rows
        self._directory = directory
        self._domains = domains

    async def owns(self, account_id: str, sender: str) -> bool:
        """Whether it is the account's; False for what is no address, and for an account that is gone. Raises Unavailable."""
        try:
            address = parse(sender)
        except AddressError:
            return False
        row = await self._rows.by_id(account_id)
        if row is None:
            return False
        aliases = await self._directory.aliases(account_id)
        account = Account.of(row, ceiling=0, aliases=aliases, case_sensitive=self._directory.case_sensitive)
        return account.owns(address) or await self._domains.belongs(address.domain_key, account_id)
