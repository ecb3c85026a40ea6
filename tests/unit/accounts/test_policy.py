"""What an account may put in an envelope."""

import pytest

from gateway import address, reply
from gateway.accounts import policy
from gateway.accounts.model import Account
from gateway.errors import Refused

ACCOUNT = Account("7", "Ann@Example.com", 1000, "hash", frozenset({"ann@example.com", "sales@xn--fa-hia.de"}))


@pytest.mark.parametrize(
    ("sender", "own"),
    [
        ("ann@example.com", True),
        ("ANN@EXAMPLE.COM", True),
        ('"ann"@example.com', True),
        ("sales@faß.de", True),
        ("bob@example.com", False),
        ("ann@example.org", False),
        ("ann+tag@example.com", False),
    ],
)
def test_senders(sender: str, own: bool) -> None:
    assert policy.may_send_as(ACCOUNT, address.parse(sender), rule="own") is own
    assert policy.may_send_as(ACCOUNT, address.parse(sender), rule="any")


def test_size() -> None:
    policy.check_size(1000, 1000)
    with pytest.raises(Refused) as caught:
        policy.check_size(1000, 1001)
    assert caught.value.reply == reply.too_large(1000, 1001)


def test_recipients() -> None:
    policy.check_recipients(100, 100)
    with pytest.raises(Refused) as caught:
        policy.check_recipients(101, 100)
    assert caught.value.reply == reply.too_many_recipients(100)
