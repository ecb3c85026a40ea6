"""What domains and their credentials do: those of our store, on SQLite and PostgreSQL, and the fakes that other tests use."""

from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from gateway.accounts.model import Credential
from gateway.accounts.ports import CredentialBook, Domains
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store import credentials, domains
from gateway.store.credentials import SqlCredentials
from gateway.store.database import Database
from gateway.store.domains import SqlDomains
from tests.fakes import FakeCredentialBook
from tests.pump import Pump
from tests.stores import KINDS, url_of

T = TypeVar("T")


class Subject(Protocol):
    domains: Domains
    book: CredentialBook

    def wait(self, awaitable: Awaitable[T]) -> T: ...

    def own(self, domain: str, account_id: str) -> None: ...

    def disown(self, domain: str) -> None: ...

    def create(self, name: str, stored: str = "x") -> None: ...

    def reset(self, name: str, stored: str) -> None: ...

    def delete(self, name: str) -> None: ...

    def last_network(self, name: str) -> str:
        """From where it was used last, "" for never."""
        ...

    def break_down(self) -> None:
        """From here on it is away."""
        ...


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeCredentialBook()
        self.domains: Domains = self.fake.domains
        self.book: CredentialBook = self.fake
        self.create, self.reset, self.delete = self._create, self.fake.reset, self.fake.delete

    def wait(self, awaitable: Awaitable[T]) -> T:
        return Pump().result(awaitable)

    def own(self, domain: str, account_id: str) -> None:
        self.fake.domains.owners[domain] = account_id

    def disown(self, domain: str) -> None:
        del self.fake.domains.owners[domain]

    def _create(self, name: str, stored: str = "x") -> None:
        self.fake.create(name, stored)

    def last_network(self, name: str) -> str:
        return dict(self.fake.uses).get(name, "")

    def break_down(self) -> None:
        self.fake.fail_with = self.fake.domains.fail_with = Unavailable("away")


class SqlSubject:
    def __init__(self, database: Database, pump: Pump) -> None:
        self.database, self.pump = database, pump
        self.sql = SqlCredentials(database, lambda: 1_000_000.0)
        self.domains: Domains = SqlDomains(database)
        self.book: CredentialBook = self.sql

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.pump.result(awaitable)

    def own(self, domain: str, account_id: str) -> None:
        self.wait(self.database.write(lambda connection: domains.add(connection, domain, account_id)))

    def disown(self, domain: str) -> None:
        self.wait(self.database.write(lambda connection: domains.remove(connection, domain)))

    def create(self, name: str, stored: str = "x") -> None:
        self.wait(self.database.write(lambda connection: credentials.create(connection, name, stored)))

    def reset(self, name: str, stored: str) -> None:
        self.wait(self.database.write(lambda connection: credentials.reset(connection, name, stored)))

    def delete(self, name: str) -> None:
        self.wait(self.database.write(lambda connection: credentials.delete(connection, name)))

    def last_network(self, name: str) -> str:
        self.wait(self.sql.flush())
        listed = self.wait(self.database.read(credentials.listing))
        return {each.name: each.last_network for each in listed}[name]

    def break_down(self) -> None:
        self.wait(self.database.stop())


@pytest.fixture(params=["fake", *KINDS])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield FakeSubject()
        return
    url = url_of(request.param, tmp_path, request)
    pump = Pump()
    database = Database(url, reactor=pump, metrics=Metrics(CollectorRegistry()), clock=lambda: 0.0)
    database.start()
    yield SqlSubject(database, pump)
    pump.result(database.stop())


def found(subject: Subject, name: str) -> Credential | None:
    return subject.wait(subject.book.find(name))


def test_a_domain_is_its_account_s_from_when_it_is_added_to_when_it_is_removed(subject: Subject) -> None:
    def belongs(domain: str, account_id: str) -> bool:
        return subject.wait(subject.domains.belongs(domain, account_id))

    assert not belongs("brand.example", "7")
    subject.own("brand.example", "7")
    subject.own("other.example", "8")
    assert belongs("brand.example", "7")
    assert not belongs("brand.example", "8")
    assert not belongs("brand.example", "")
    assert not belongs("sub.brand.example", "7")
    assert not belongs("nobody.example", "")
    subject.disown("brand.example")
    assert not belongs("brand.example", "7")
    assert belongs("other.example", "8")


def test_a_credential_is_found_by_its_name_with_the_account_of_its_domain(subject: Subject) -> None:
    subject.own("brand.example", "7")
    subject.own("other.example", "8")
    subject.create("shop@brand.example", "one")
    subject.create("shop@other.example", "two")
    shop, other = found(subject, "shop@brand.example"), found(subject, "shop@other.example")
    assert shop is not None
    assert other is not None
    assert shop.id != other.id
    assert shop == Credential(shop.id, "shop@brand.example", "brand.example", "7", "one")
    assert other == Credential(other.id, "shop@other.example", "other.example", "8", "two")
    assert found(subject, "nobody@brand.example") is None


def test_a_change_counts_for_the_next_call(subject: Subject) -> None:
    subject.own("brand.example", "7")
    subject.create("shop@brand.example", "one")
    before = found(subject, "shop@brand.example")
    assert before is not None
    subject.reset("shop@brand.example", "two")
    after = found(subject, "shop@brand.example")
    assert after is not None
    assert (after.id, after.stored) == (before.id, "two")
    subject.delete("shop@brand.example")
    assert found(subject, "shop@brand.example") is None
    subject.create("shop@brand.example", "two")
    again = found(subject, "shop@brand.example")
    assert again is not None
    assert again.id != before.id  # what was counted for the one before is none of its


def test_with_its_domain_a_credential_is_gone(subject: Subject) -> None:
    subject.own("brand.example", "7")
    subject.create("shop@brand.example")
    subject.disown("brand.example")
    assert found(subject, "shop@brand.example") is None


def test_where_it_was_used_last(subject: Subject) -> None:
    subject.own("brand.example", "7")
    subject.create("shop@brand.example")
    subject.create("other@brand.example")
    shop = found(subject, "shop@brand.example")
    assert shop is not None
    assert subject.last_network("shop@brand.example") == ""
    subject.book.used(shop, "192.0.2.1/32")
    subject.book.used(shop, "192.0.2.2/32")
    assert subject.last_network("shop@brand.example") == "192.0.2.2/32"
    assert subject.last_network("other@brand.example") == ""


def test_away_is_unavailable(subject: Subject) -> None:
    subject.break_down()
    for waiting in (subject.book.find("shop@brand.example"), subject.domains.belongs("brand.example", "7")):
        with pytest.raises(Unavailable):
            subject.wait(waiting)
