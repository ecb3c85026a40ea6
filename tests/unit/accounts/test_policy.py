"""What an account may put in an envelope."""

import pytest

from gateway import address, reply
from gateway.accounts import policy
from gateway.accounts.model import Account, LoginRow
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


@pytest.mark.parametrize(
    ("login", "other"),
    [
        ("straße@example.com", "strasse@example.com"),
        ("\u017fam@example.com", "sam@example.com"),  # the long s
        ("J\u00fcrgen@example.com", "j\u00dcrgen@example.com"),
        ("\u0430nn@example.com", "ann@example.com"),  # a Cyrillic a
    ],
)
def test_who_looks_alike_is_somebody_else(login: str, other: str) -> None:
    for one, two in ((login, other), (other, login)):
        account = Account.of(LoginRow("1", one, "hash"), ceiling=1000)
        assert policy.may_send_as(account, address.parse(one), rule="own")
        assert not policy.may_send_as(account, address.parse(two), rule="own")


def test_letter_case_where_the_login_table_tells_it_apart() -> None:
    account = Account.of(LoginRow("1", "Ann@Example.com", "hash"), ceiling=1000, case_sensitive=True)
    assert policy.may_send_as(account, address.parse("Ann@example.COM"), rule="own")
    assert not policy.may_send_as(account, address.parse("ann@example.com"), rule="own")


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
