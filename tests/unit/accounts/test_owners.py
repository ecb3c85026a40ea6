"""Whose an address is, asked when a report is about to be made."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from gateway.accounts.model import LoginRow
from gateway.accounts.owners import Owners
from gateway.errors import Unavailable
from tests.fakes import FakeDomains
from tests.harness import LoginTable
from tests.unit.awaiting import failure_of, value_of

ANN = LoginRow("1", "ann@example.com", "x")
CLERK = LoginRow("5", "clerk", "x", active=False)


def world() -> tuple[LoginTable, Owners]:
    table, domains = LoginTable(ANN, CLERK), FakeDomains()
    table.sender_aliases = {"1": frozenset({"sales@example.com"})}
    domains.owners["brand.example"] = "1"
    return table, Owners(table, table, domains)


@pytest.mark.parametrize(
    ("account", "sender", "owned"),
    [
        ("1", "Ann@EXAMPLE.com", True),
        ("1", "sales@example.com", True),
        ("1", "anybody@Brand.example", True),
        ("1", "bob@example.com", False),
        ("5", "clerk@example.com", False),
        ("5", "anybody@brand.example", False),
        ("9", "ann@example.com", False),  # the account is gone
        ("1", "no address", False),
    ],
)
def test_whose_an_address_is(account: str, sender: str, owned: bool) -> None:
    assert value_of(Deferred.fromCoroutine(world()[1].owns(account, sender))) is owned


def test_it_is_read_each_time() -> None:
    table, owners = world()
    table.rows[ANN.login] = replace(ANN, login="ann@example.net")
    assert not value_of(Deferred.fromCoroutine(owners.owns("1", "ann@example.com")))


def test_a_login_table_that_is_away() -> None:
    table, owners = world()
    table.away = True
    failure_of(Deferred.fromCoroutine(owners.owns("1", "ann@example.com")), Unavailable)
