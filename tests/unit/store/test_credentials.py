"""What is the store's own of domains and credentials: what operators do, five a domain, shared reads, uses written down."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import IntegrityError

from gateway import address
from gateway.accounts.model import Credential
from gateway.errors import Conflict, NotFound, Unavailable
from gateway.store import credentials, domains
from gateway.store.credentials import MAX_WAITING, SqlCredentials
from gateway.store.database import Database
from gateway.store.domains import domain_named
from gateway.store.engine import opened, store_engine
from gateway.store.schema import credential, domain
from tests.pump import Pump, deferred
from tests.stores import KINDS, running, store_url, url_of

T = TypeVar("T")


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return store_url(tmp_path)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with opened(url, write=True) as connection:
        yield connection


@pytest.fixture
def database(url: str, pump: Pump) -> Iterator[Database]:
    with running(url, pump) as database:
        yield database


# Domains


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("brand.example", "brand.example"),
        ("Brand.EXAMPLE", "brand.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a-b.c.example", "a-b.c.example"),
    ],
)
def test_names_of_domains(given: str, name: str) -> None:
    assert domain_named(given) == name == domain_named(name)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "localhost",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "ann@brand.example",
        "brand.example.",
        ".brand.example",
        "brand..example",
        "-brand.example",
        "brand example",
        " brand.example",
        "brand.example\n",
        "brand.example\x00",
        "brand.example\x1b[31m",
        "*.example",
        "a" * 64 + ".example",
        "a." * 200 + "example",
        "brand\u3002example",
        "\udc80.example",
        "\u2024.example",
    ],
)
def test_what_is_no_domain_is_said_in_one_printable_line(given: str) -> None:
    with pytest.raises(Conflict) as caught:
        domain_named(given)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_domain_has_one_account(connection: Connection) -> None:
    assert domains.add(connection, "Brand.example", "7")
    assert not domains.add(connection, "brand.example", "7")
    with pytest.raises(Conflict, match="belongs to account 7"):
        domains.add(connection, "BRAND.example", "8")
    assert [(each.name, each.account_id) for each in domains.listing(connection)] == [("brand.example", "7")]
    assert domains.remove(connection, "BRAND.example") == 0
    assert domains.add(connection, "brand.example", "8")


def test_domains_listed_by_name_with_the_number_of_their_credentials(connection: Connection) -> None:
    for name, account_id in (("c.example", "7"), ("a.example", "7"), ("b.example", "8")):
        domains.add(connection, name, account_id)
    for name in ("x@c.example", "y@c.example", "x@b.example"):
        credentials.create(connection, name, "x")
    rows = [(each.name, each.account_id, each.credentials) for each in domains.listing(connection)]
    assert rows == [("a.example", "7", 0), ("b.example", "8", 1), ("c.example", "7", 2)]
    assert [each.name for each in domains.listing(connection, "7")] == ["a.example", "c.example"]
    assert domains.listing(connection, "9") == []
    connection.execute(domain.update().values(added=domain.c.added - 60))
    assert domains.listing(connection)[0].age == pytest.approx(60, abs=20)


def test_a_domain_leaves_with_its_credentials_and_no_others(connection: Connection) -> None:
    for name in ("a.example", "b.example"):
        domains.add(connection, name, "7")
    for name in ("x@a.example", "y@a.example", "x@b.example"):
        credentials.create(connection, name, "x")
    assert domains.remove(connection, "a.example") == 2
    assert [each.name for each in credentials.listing(connection)] == ["x@b.example"]
    with pytest.raises(NotFound, match=r"a\.example: no account"):
        domains.remove(connection, "a.example")


# Credentials


@pytest.fixture
def brand(connection: Connection) -> Connection:
    domains.add(connection, "brand.example", "7")
    return connection


def test_the_fifth_of_a_domain_is_created_and_the_sixth_is_not(brand: Connection) -> None:
    domains.add(brand, "other.example", "7")
    made = [credentials.create(brand, f"u{n}@brand.example", "x") for n in range(5)]
    assert len({each.id for each in made}) == 5
    with pytest.raises(Conflict, match="5 SMTP users already"):
        credentials.create(brand, "u6@brand.example", "x")
    credentials.create(brand, "u6@other.example", "x")
    credentials.delete(brand, "u2@brand.example")
    credentials.create(brand, "u6@brand.example", "x")
    with pytest.raises(Conflict, match="5 SMTP users already"):
        credentials.create(brand, "u2@brand.example", "x")


def test_what_is_created_is_what_is_found(brand: Connection) -> None:
    made = credentials.create(brand, address.parse("Shop@BRAND.example"), "x")
    assert made == Credential(made.id, "shop@brand.example", "brand.example", "7", "x")
    for spelling in ("shop@brand.example", "SHOP@brand.example", address.parse("shop@Brand.Example")):
        assert credentials.find(brand, spelling) == made
    assert credentials.find(brand, "shop") is None
    assert credentials.find(brand, "nobody@brand.example") is None


@pytest.mark.parametrize("name", ["shop@brand.example", "SHOP@Brand.example", '"shop"@brand.example'])
def test_two_of_one_name_are_refused(brand: Connection, name: str) -> None:
    credentials.create(brand, "shop@brand.example", "x")
    with pytest.raises(Conflict, match="there is an SMTP user of this name"):
        credentials.create(brand, name, "x")


def test_without_its_domain_there_is_none(brand: Connection) -> None:
    for name in ("shop@other.example", "shop@sub.brand.example"):
        with pytest.raises(NotFound, match="smtp-gateway domains add"):
            credentials.create(brand, name, "x")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "shop",
        "shop@",
        "@brand.example",
        "shop@[192.0.2.1]",
        "shop@localhost",
        "sh op@brand.example",
        '"sh op"@brand.example',
        '"a@b"@brand.example',
        '"\\"a\\""@brand.example',
        "shop@brand.example\n",
        "shop\x1b[31m@brand.example",
        "x" * 242 + "@brand.example",
        "\udc80@brand.example",
        "x@" + "ü." * 40 + "example",  # as A-labels, longer than an address may be
    ],
)
def test_names_that_no_credential_may_have(brand: Connection, name: str) -> None:
    with pytest.raises(Conflict) as caught:
        credentials.create(brand, name, "x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_reset_and_delete(brand: Connection) -> None:
    made = credentials.create(brand, "shop@brand.example", "x")
    other = credentials.create(brand, "other@brand.example", "y")
    brand.execute(credential.update().values(changed=credential.c.changed - 60))
    credentials.reset(brand, "SHOP@brand.example", "new")
    assert [(each.name, round(each.age / 60)) for each in credentials.listing(brand)] == [
        ("other@brand.example", 1),
        ("shop@brand.example", 0),
    ]
    assert credentials.find(brand, "shop@brand.example") == Credential(made.id, made.name, made.domain, "7", "new")
    credentials.delete(brand, "SHOP@brand.example")
    assert credentials.find(brand, "other@brand.example") == other
    with pytest.raises(NotFound, match=made.name):
        credentials.delete(brand, made.name)
    with pytest.raises(NotFound, match=made.name):
        credentials.reset(brand, made.name, "x")
    with pytest.raises(NotFound) as caught:
        credentials.delete(brand, "no\nbody")
    assert str(caught.value).isprintable()


def test_credentials_listed_by_domain_and_name(brand: Connection) -> None:
    domains.add(brand, "a.example", "8")
    for name in ("b@brand.example", "a@brand.example", "c@a.example"):
        credentials.create(brand, name, "x")
    assert [(each.name, each.account_id, each.last_used, each.last_network) for each in credentials.listing(brand)] == [
        ("c@a.example", "8", None, ""),
        ("a@brand.example", "7", None, ""),
        ("b@brand.example", "7", None, ""),
    ]
    assert [each.name for each in credentials.listing(brand, "A.example")] == ["c@a.example"]
    with pytest.raises(NotFound):
        credentials.listing(brand, "none.example")


# At once


@pytest.fixture(params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that several write to, with a domain."""
    url = url_of(request.param, tmp_path, request)
    with opened(url, write=True) as connection:
        domains.add(connection, "brand.example", "7")
    return url


def outcomes(url: str, works: list[Callable[[Connection], T]]) -> list[T | str]:
    """What became of each, all at once: its result, or its exception's name."""

    def one(work: Callable[[Connection], T]) -> T | str:
        try:
            with opened(url, write=True) as connection:
                return work(connection)
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


def creating(name: str) -> Callable[[Connection], str]:
    return lambda connection: credentials.create(connection, name, "x").name


def test_of_twelve_created_at_once_five_are(shared: str) -> None:
    names = [f"u{n}@brand.example" for n in range(12)]
    done = outcomes(shared, [creating(name) for name in names])
    assert sorted(map(str, done))[:7] == ["Conflict"] * 7
    with opened(shared, write=False) as connection:
        there = connection.execute(select(credential.c.name, credential.c.slot)).all()
    assert {row.name for row in there} == set(done) - {"Conflict"}
    assert sorted(row.slot for row in there) == [1, 2, 3, 4, 5]


def test_of_one_name_created_six_times_at_once_there_is_one(shared: str) -> None:
    done = outcomes(shared, [creating("shop@brand.example")] * 6)
    assert sorted(map(str, done)) == ["Conflict"] * 5 + ["shop@brand.example"]


def test_of_two_accounts_that_want_a_domain_at_once_one_gets_it(shared: str) -> None:
    def adding(account_id: str) -> Callable[[Connection], object]:
        return lambda connection: domains.add(connection, "new.example", account_id)

    done = outcomes(shared, [adding(str(n)) for n in range(6)])
    assert sorted(map(str, done)) == ["Taken"] * 5 + ["True"]


def test_a_domain_removed_while_credentials_are_created_leaves_none_behind(shared: str) -> None:
    removing: Callable[[Connection], object] = lambda connection: domains.remove(connection, "brand.example")  # noqa: E731
    done = outcomes(shared, [*(creating(f"u{n}@brand.example") for n in range(3)), removing, creating("u4@brand.example")])
    *created, removed = [*done[:3], done[4], done[3]]
    assert removed == sum(name != "NotFound" for name in created)
    with opened(shared, write=False) as connection:
        assert connection.execute(select(credential.c.name)).all() == []


@pytest.mark.parametrize("slot", [0, 6])
def test_the_table_itself_has_no_sixth_slot(shared: str, slot: int) -> None:
    row = {"domain": "brand.example", "slot": slot, "name": "u@brand.example", "stored": "x", "changed": 0, "last_network": ""}
    engine = store_engine(shared, write=True)
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(credential.insert(), row)
    row["slot"] = 5
    with engine.connect() as connection:
        connection.execute(credential.insert(), row)
        with pytest.raises(IntegrityError):
            connection.execute(credential.insert(), row | {"name": "v@brand.example"})
    engine.dispose()


# In a gateway


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is read of credentials and domains meanwhile, with the values."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if "FROM credential" in statement or "FROM domain" in statement:
            seen.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def created(database: Database, pump: Pump, *names: str) -> list[Credential]:
    def create(connection: Connection) -> list[Credential]:
        domains.add(connection, "brand.example", "7")
        return [credentials.create(connection, name, "x") for name in names]

    return pump.result(database.write(create))


def uses(database: Database, pump: Pump) -> dict[str, tuple[float | None, str]]:
    query = select(credential.c.name, credential.c.last_used, credential.c.last_network)
    return pump.result(database.read(lambda c: {row.name: (row.last_used, row.last_network) for row in c.execute(query)}))


def test_those_who_wait_share_reads(database: Database, pump: Pump) -> None:
    created(database, pump, "a@brand.example", "b@brand.example")
    book, owners = SqlCredentials(database, Clock()), domains.SqlDomains(database)
    names = ["a@brand.example", "b@brand.example", "c@brand.example"] * 20
    with statements() as seen:
        crowd = [deferred(book.find(name)) for name in names]
        found = [pump.result(each) for each in crowd]
    assert [each.name if each else None for each in found] == ["a@brand.example", "b@brand.example", None] * 20
    assert len(seen) == 1
    with statements() as seen:
        belong = [deferred(owners.belongs("brand.example", str(n % 9))) for n in range(90)]
        assert [pump.result(each) for each in belong] == [n % 9 == 7 for n in range(90)]
    assert len(seen) == 1


def test_uses_are_written_down_together_the_latest_of_each(database: Database, pump: Pump) -> None:
    a, b, c = created(database, pump, "a@brand.example", "b@brand.example", "c@brand.example")
    clock = Clock()
    book = SqlCredentials(database, clock)
    book.used(a, "192.0.2.1/32")
    clock.seconds += 1
    book.used(a, "192.0.2.2/32")
    book.used(b, "192.0.2.3/32")
    assert uses(database, pump)["a@brand.example"] == (None, "")
    pump.result(book.flush())
    wanted = {
        "a@brand.example": (1_000_001.0, "192.0.2.2/32"),
        "b@brand.example": (1_000_001.0, "192.0.2.3/32"),
        c.name: (None, ""),
    }
    assert uses(database, pump) == wanted
    pump.result(database.write(lambda connection: connection.execute(credential.update().values(last_used=None)).rowcount))
    pump.result(book.flush())  # nothing twice
    assert uses(database, pump)["a@brand.example"][0] is None


def test_a_later_use_that_another_process_wrote_stays(database: Database, pump: Pump) -> None:
    (a,) = created(database, pump, "a@brand.example")
    early, late = Clock(), Clock()
    late.seconds += 1
    ours, theirs = SqlCredentials(database, early), SqlCredentials(database, late)
    ours.used(a, "192.0.2.1/32")
    theirs.used(a, "192.0.2.2/32")
    pump.result(theirs.flush())
    pump.result(ours.flush())
    assert uses(database, pump) == {a.name: (1_000_001.0, "192.0.2.2/32")}


def test_a_credential_deleted_meanwhile_harms_no_other(database: Database, pump: Pump) -> None:
    a, b = created(database, pump, "a@brand.example", "b@brand.example")
    book = SqlCredentials(database, Clock())
    book.used(a, "192.0.2.1/32")
    book.used(b, "192.0.2.1/32")
    pump.result(database.write(lambda connection: credentials.delete(connection, a.name)))
    pump.result(book.flush())
    assert uses(database, pump) == {b.name: (1_000_000.0, "192.0.2.1/32")}


def test_a_store_that_is_away_loses_no_use_that_fits(tmp_path: Path, pump: Pump) -> None:
    (tmp_path / "later").mkdir()
    first, second = (Credential(n, f"u{n}@brand.example", "brand.example", "7", "x") for n in (1, 2))
    with running(f"sqlite:///{tmp_path}/later/gateway.db", pump) as away:
        clock = Clock()
        book = SqlCredentials(away, clock)
        book.used(first, "192.0.2.1/32")
        book.used(second, "192.0.2.1/32")
        failing = deferred(book.flush())
        clock.seconds += 1
        book.used(first, "192.0.2.2/32")  # later than what the failing write had
        assert isinstance(pump.failure(failing), Unavailable)
        for n in range(3, MAX_WAITING + 5):
            book.used(Credential(n, "", "", "", ""), "192.0.2.3/32")
        book.used(second, "192.0.2.4/32")
        store_url(tmp_path / "later")
        created(away, pump, first.name, second.name)
        pump.result(book.flush())
        assert uses(away, pump) == {
            first.name: (1_000_001.0, "192.0.2.2/32"),
            second.name: (1_000_001.0, "192.0.2.4/32"),
        }
        assert book._waiting == {}


def test_more_than_fits_is_not_kept(database: Database) -> None:
    book = SqlCredentials(database, Clock())
    for n in range(MAX_WAITING + 5):
        book.used(Credential(n, "", "", "", ""), "192.0.2.3/32")
    assert len(book._waiting) == MAX_WAITING


def test_an_index_serves_each_look_up(brand: Connection) -> None:
    credentials.create(brand, "a@brand.example", "x")
    steps: list[str] = []
    for query, keys in (
        (credentials._BY_NAME, {"names": ["a@brand.example", "b@brand.example"]}),
        (domains._OWNERS, {"names": ["brand.example"]}),
        (credentials._SLOTS_TAKEN, {"domain": "brand.example"}),
    ):
        with statements() as seen:
            brand.execute(query, keys).all()
        (statement, values) = seen[-1]
        steps += [row[-1] for row in brand.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(steps) >= 4
    assert [step for step in steps if step.startswith("SCAN")] == []
