"""What a signed-in account may put in an envelope: whose sender address, how large, for how many."""

from typing import Literal

from gateway import reply
from gateway.accounts.model import Account
from gateway.address import Address
from gateway.errors import Refused


def may_send_as(account: Account, address: Address, *, rule: Literal["own", "any"]) -> bool:
    """Whether `address` is the account's login or one of its aliases, in whatever spelling; always with "any".

    A credential sends as its domain and as nothing else, whatever the rule: that is what it was made for.
    """
    return account.owns(address) or (rule == "any" and account.credential is None)


def check_size(limit: int, size: int) -> None:
    """`size` as declared at MAIL or counted at the end, in octets. Raises Refused (RFC 1870 section 6.1)."""
    if size > limit:
        raise Refused(reply.too_large(limit, size))


def check_recipients(count: int, limit: int) -> None:
    """`count` recipients, the one just named among them. Raises Refused (RFC 5321 section 4.5.3.1.10)."""
    if count > limit:
        raise Refused(reply.too_many_recipients(limit))
