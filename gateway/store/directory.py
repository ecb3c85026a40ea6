"""The product's login table, read live. Implements `gateway.accounts.ports.Directory` and `AccountRows`, and
`gateway.queue.ports.SenderStatus`.

Theory of operation. Queries run in a few threads, each with a connection, and who asks shares them (store/shared_read.py): a
query is for all the logins that wait when it starts, so a call never shares one that began before it (promise 1). A query that
hangs holds one thread and nobody else: each call gives up by itself after PATIENCE seconds. A connection that died since its
last use (the server was restarted) is replaced within the call.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, column, exc, select
from sqlalchemy.types import NullType
from twisted.internet.defer import CancelledError, Deferred, succeed

from gateway import address
from gateway.accounts.model import LoginRow
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.engine import accounts_engine
from gateway.store.failures import unavailable
from gateway.store.login_table import as_text, can_be_login, foreign_table
from gateway.store.lookup import NOBODY, Lookup, only
from gateway.store.patience import Patience
from gateway.store.read_threads import ReadThreads
from gateway.store.shared_read import SharedReads
from gateway.store.standing import Standing, go_on, usual

T = TypeVar("T")

THREADS = 4
MAX_IDS = 100  # in one query
PATIENCE = 10.0  # seconds: the drivers' own limits are 5 to connect and 5 to answer


class SqlDirectory:
    """The table that `accounts` describes; `aliases` is a table of (account_id, address), or "".

    `reactor` provides IReactorTime and IReactorFromThreads; `clock` gives seconds for durations, from any zero.
    """

    def __init__(self, accounts: Accounts, *, aliases: str, reactor: Any, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self.case_sensitive = accounts.case_sensitive
        self._engine = accounts_engine(accounts.url.get_secret_value(), connections=THREADS)
        self._lookup = Lookup(accounts, self._engine.dialect.name)
        self._table = self._lookup.table
        self._standing = Standing(self._table)
        # NullType: a typed parameter would be cast to text, which PostgreSQL does not compare with an integer id
        account_id = bindparam("account_id", type_=NullType())
        source = foreign_table(aliases, [column("account_id"), column("address")]) if aliases else None
        self._aliases = select(source.c.address).where(source.c.account_id == account_id) if source is not None else None
        self._threads = ReadThreads(
            self._engine,
            reactor,
            clock,
            name="accounts",
            threads=THREADS,
            failed=metrics.accounts_errors_total.inc,
            took=metrics.accounts_query_seconds.observe,
            about="login table: ",
        )
        self._patience = Patience(reactor, PATIENCE)
        reads = SharedReads(self._threads, reactor, most=THREADS, patience=False)
        self._logins = reads.of(self._lookup.find)
        self._by_id = reads.of(self._standing.rows)
        self._addresses = reads.of(self._aliases_of)

    def start(self) -> None:
        self._threads.start()

    def hangs(self, seconds: float) -> bool:
        """Whether a query has been under way for longer than that."""
        return self._threads.hangs(seconds)

    def cut(self) -> None:
        """End the connections, in the middle of anything: what is under way fails."""
        self._threads.cut()

    def stop(self) -> Deferred[None]:
        """End what runs, join the threads, and close the connections."""
        self._threads.stop()
        return succeed(None)

    async def find(self, login: str) -> LoginRow | None:
        """See the port."""
        if not can_be_login(login):
            return None
        found = await self._patiently(self._logins.ask(login))
        with _about_the_table():
            return only(found)

    def key(self, login: str) -> str:
        """See the port."""
        return self._table.key(login)

    async def aliases(self, account_id: str) -> frozenset[str]:
        """See the port. An alias that is no address is skipped: nothing could be sent from it."""
        if self._aliases is None:
            return frozenset()
        found = await self._patiently(self._addresses.ask(account_id))
        if isinstance(found, Unavailable):
            raise Unavailable(f"login table: {found}")
        return found

    async def by_id(self, account_id: str) -> LoginRow | None:
        """See AccountRows."""
        found = await self._patiently(self._by_id.ask(account_id))
        with _about_the_table():
            return usual(found)

    async def disabled(self, account_ids: Collection[str]) -> set[str]:
        """See SenderStatus."""
        ids = sorted(account_ids)
        found: set[str] = set()
        for start in range(0, len(ids), MAX_IDS):
            found |= await self._ask(self._question(ids[start : start + MAX_IDS]))
        return found

    def _question(self, ids: Sequence[str]) -> Callable[[Connection], set[str]]:
        return lambda connection: self._standing.disabled(connection, ids)

    async def sample(self, most: int) -> list[str]:
        """At most `most` stored hashes, for the scheme and cost that are usual in the table. Raises Unavailable."""
        queries = (self._table.sample, self._table.newest)  # old rows may have another kind of hash than new ones

        def read(connection: Connection) -> list[str]:
            return [as_text(row) for query in queries for row in connection.execute(query, {"most": most // 2}).scalars()]

        return [stored for stored in await self._ask(read) if stored]

    async def reachable(self) -> None:
        """Whether a sign-in could be decided now: the look-up itself, for nobody. Raises Unavailable."""
        only((await self._ask(lambda connection: self._lookup.find(connection, [NOBODY])))[NOBODY])

    # In the reactor's thread

    async def _ask(self, function: Callable[[Connection], T]) -> T:
        return await self._patiently(self._threads.in_thread(lambda: self._threads.on_connection(function)))

    async def _patiently(self, result: Deferred[T]) -> T:
        self._patience.begin(result)
        try:
            return await result
        except CancelledError:
            if self._patience.end(result):  # it was the caller who gave up
                raise
            self._metrics.accounts_errors_total.inc()
            raise Unavailable(f"login table: no answer in {PATIENCE:.0f} seconds") from None
        finally:
            self._patience.end(result)

    # In a thread of our own

    def _aliases_of(self, connection: Connection, account_ids: Collection[str]) -> dict[str, frozenset[str] | Unavailable]:
        return {id_: self._own_aliases(connection, id_) for id_ in account_ids}

    def _own_aliases(self, connection: Connection, account_id: str) -> frozenset[str] | Unavailable:
        """Or why they cannot be read, when it is this id or its rows that are to blame. Raises what is the trouble of all."""
        assert self._aliases is not None
        try:
            rows = connection.execute(self._aliases, {"account_id": account_id}).scalars().all()
        except (exc.DBAPIError, UnicodeError) as error:
            go_on(connection, error)
            return unavailable(error)
        return frozenset(filter(None, (_address_key(row, self.case_sensitive) for row in rows)))


@contextmanager
def _about_the_table() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"login table: {error}") from None


def _address_key(text: object, case_sensitive: bool) -> str:
    try:
        alias = address.parse(as_text(text))
        return alias.exact_key if case_sensitive else alias.key
    except address.AddressError:
        return ""
