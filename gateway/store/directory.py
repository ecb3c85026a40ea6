"""The product's login table, read live. Implements `gateway.accounts.ports.Directory` and `AccountRows`, and
`gateway.queue.ports.SenderStatus`.

Theory of operation. A few threads, each with a connection, run queries; a query is for all the logins that wait when it
starts. So a call never shares one that began before it (promise 1), at low load each goes out at once, and at high load
one round trip serves many. A query that hangs holds one thread and nobody else: each call gives up by itself after
PATIENCE seconds. A connection that died since its last use (the server was restarted) is replaced within the call.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, column, exc, select
from sqlalchemy.types import NullType
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway import address
from gateway.accounts.model import LoginRow
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated
from gateway.store.login_table import as_text, can_be_login, foreign_table
from gateway.store.lookup import NOBODY, Found, Lookup, only
from gateway.store.shared_read import SharedRead
from gateway.store.standing import Standing, usual

T = TypeVar("T")

THREADS = 4
MAX_LOGINS = 100  # in one query; ids, too
PROMPT = 1.0  # seconds: who fails later than this gets no second try
PATIENCE = 10.0  # seconds: the drivers' own limits are 5 to connect and 5 to answer


class SqlDirectory:
    """The table that `accounts` describes; `aliases` is a table of (account_id, address), or "".

    `reactor` provides IReactorTime and IReactorFromThreads; `clock` gives seconds for durations, from any zero.
    """

    def __init__(self, accounts: Accounts, *, aliases: str, reactor: Any, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._metrics = metrics
        self._clock = clock
        self.case_sensitive = accounts.case_sensitive
        self._engine = accounts_engine(accounts.url.get_secret_value(), connections=THREADS)
        self._lookup = Lookup(accounts, self._engine.dialect.name)
        self._table = self._lookup.table
        self._standing = Standing(self._table)
        # NullType: a typed parameter would be cast to text, which PostgreSQL does not compare with an integer id
        account_id = bindparam("account_id", type_=NullType())
        source = foreign_table(aliases, [column("account_id"), column("address")]) if aliases else None
        self._aliases = select(source.c.address).where(source.c.account_id == account_id) if source is not None else None
        self._threads = ThreadPool(THREADS, THREADS, "accounts")  # all from the start: later there may be none to have
        self._waiting: dict[Deferred[LoginRow | None], str] = {}  # to the login as typed, in the order of arrival
        self._running = 0
        self._by_id: SharedRead[str, Found] = SharedRead(self._read_by_id)

    def start(self) -> None:
        self._threads.start()

    def stop(self) -> Deferred[None]:
        """Join the threads, at most PATIENCE after the last query began, and close the connections."""
        if self._threads.started:
            self._threads.stop()
        self._engine.dispose()
        return succeed(None)

    async def find(self, login: str) -> LoginRow | None:
        """See the port."""
        if not can_be_login(login):
            return None
        result: Deferred[LoginRow | None] = Deferred()
        self._waiting[result] = login
        self._begin()
        try:
            return await self._patiently(result)
        finally:
            self._waiting.pop(result, None)  # who gave up waits no more: a table that hangs gathers nobody

    def key(self, login: str) -> str:
        """See the port."""
        return self._table.key(login)

    async def aliases(self, account_id: str) -> frozenset[str]:
        """See the port. An alias that is no address is skipped: nothing could be sent from it."""
        query = self._aliases
        if query is None:
            return frozenset()
        rows = await self._ask(lambda connection: connection.execute(query, {"account_id": account_id}).scalars().all())
        return frozenset(key for key in (_address_key(row, self.case_sensitive) for row in rows) if key)

    async def by_id(self, account_id: str) -> LoginRow | None:
        """See AccountRows."""
        found = await self._patiently(self._by_id.ask(account_id))
        try:
            return usual(found)
        except Unavailable as error:
            raise Unavailable(f"login table: {error}") from None

    async def disabled(self, account_ids: Collection[str]) -> set[str]:
        """See SenderStatus."""
        ids = sorted(account_ids)
        found: set[str] = set()
        for start in range(0, len(ids), MAX_LOGINS):
            found |= await self._ask(self._question(ids[start : start + MAX_LOGINS]))
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

    def _begin(self) -> None:
        """Start queries for those who wait while a thread is free."""
        while self._waiting and self._running < THREADS:
            batch = dict(islice(self._waiting.items(), MAX_LOGINS))
            for result in batch:
                del self._waiting[result]
            self._running += 1
            answer = deferToThreadPool(self._reactor, self._threads, self._fetch, sorted(set(batch.values())))
            answer.addBoth(self._answer, batch)

    def _answer(self, found: dict[str, Found] | Failure, batch: dict[Deferred[LoginRow | None], str]) -> None:
        self._running -= 1
        self._begin()
        for result, login in batch.items():
            if isinstance(found, Failure):
                result.errback(_own(found))
            else:
                _give(result, found[login])

    async def _ask(self, function: Callable[[Connection], T]) -> T:
        return await self._patiently(deferToThreadPool(self._reactor, self._threads, self._run, function))

    async def _patiently(self, result: Deferred[T]) -> T:
        result.addTimeout(PATIENCE, self._reactor)
        try:
            return await result
        except TimeoutError:
            self._metrics.accounts_errors_total.inc()
            raise Unavailable(f"login table: no answer in {PATIENCE:.0f} seconds") from None

    def _read_by_id(self, ids: set[str]) -> Deferred[dict[str, Found]]:
        def read(connection: Connection) -> dict[str, Found]:
            return self._standing.rows(connection, sorted(ids))

        return deferToThreadPool(self._reactor, self._threads, self._run, read)

    # In a thread of our own

    def _fetch(self, logins: list[str]) -> dict[str, Found]:
        return self._run(lambda connection: self._lookup.find(connection, logins))

    def _run(self, function: Callable[[Connection], T]) -> T:
        started = self._clock()
        try:
            with translated():
                return self._connected(function, started)
        except Unavailable as error:
            self._metrics.accounts_errors_total.inc()
            raise Unavailable(f"login table: {error}") from None
        finally:
            self._metrics.accounts_query_seconds.observe(self._clock() - started)

    def _connected(self, function: Callable[[Connection], T], started: float) -> T:
        try:
            with self._engine.connect() as connection:
                return function(connection)
        except exc.DBAPIError as error:
            if not error.connection_invalidated or self._clock() - started > PROMPT:
                raise
        with self._engine.connect() as connection:
            return function(connection)


def _give(result: Deferred[LoginRow | None], found: Found) -> None:
    try:
        row = only(found)
    except Unavailable as error:
        result.errback(Unavailable(f"login table: {error}"))
    else:
        result.callback(row)


def _own(failure: Failure) -> Exception | Failure:
    """An exception for one of many callers: a shared instance would gather all their tracebacks."""
    error = failure.value
    return Unavailable(*error.args) if isinstance(error, Unavailable) else failure


def _address_key(text: object, case_sensitive: bool) -> str:
    try:
        alias = address.parse(as_text(text))
        return alias.exact_key if case_sensitive else alias.key
    except address.AddressError:
        return ""
