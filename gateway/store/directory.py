"""The product's login table, read live. Implements `gateway.accounts.ports.Directory`.

Theory of operation. A few threads, each with a connection, run queries; a query is for all the logins that wait when it
starts. So a call never shares one that began before it (promise 1), at low load each goes out at once, and at high load
one round trip serves many. A query that hangs holds one thread and nobody else: each call gives up by itself after
PATIENCE seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, column, select
from sqlalchemy.types import NullType
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway import address, maillog
from gateway.accounts.model import LoginRow
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated
from gateway.store.login_table import LoginTable, as_text, can_be_login, foreign_table

T = TypeVar("T")

THREADS = 4
MAX_LOGINS = 100  # in one query
PATIENCE = 10.0  # seconds: the drivers' own limits are 5 to connect and 5 to answer


class SqlDirectory:
    """The table that `accounts` describes; `aliases` is a table of (account_id, address), or "".

    `reactor` provides IReactorTime and IReactorFromThreads; `clock` gives seconds for durations, from any zero.
    """

    def __init__(self, accounts: Accounts, *, aliases: str, reactor: Any, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._metrics = metrics
        self._clock = clock
        self._engine = accounts_engine(accounts.url.get_secret_value(), connections=THREADS)
        self._table = LoginTable(accounts, self._engine.dialect.name)
        # NullType: a typed parameter would be cast to text, which PostgreSQL does not compare with an integer id
        account_id = bindparam("account_id", type_=NullType())
        source = foreign_table(aliases, [column("account_id"), column("address")]) if aliases else None
        self._aliases = select(source.c.address).where(source.c.account_id == account_id) if source is not None else None
        self._threads = ThreadPool(1, THREADS, "accounts")
        self._waiting: list[tuple[str, Deferred[LoginRow | None]]] = []
        self._running = 0

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
        self._waiting.append((self._table.key(login), result))
        self._begin()
        return await self._patiently(result)

    async def aliases(self, account_id: str) -> frozenset[str]:
        """See the port. An alias that is no address is skipped: nothing could be sent from it."""
        query = self._aliases
        if query is None:
            return frozenset()
        rows = await self._ask(lambda connection: connection.execute(query, {"account_id": account_id}).scalars().all())
        return frozenset(key for key in map(_address_key, rows) if key)

    async def sample(self, most: int) -> list[str]:
        """At most `most` stored hashes, for the scheme and cost that are usual in the table. Raises Unavailable."""
        rows = await self._ask(lambda connection: connection.execute(self._table.sample, {"most": most}).scalars().all())
        return [stored for stored in map(as_text, rows) if stored]

    async def reachable(self) -> None:
        """Whether the table can be read now. Raises Unavailable."""
        await self._ask(lambda connection: connection.execute(self._table.sample, {"most": 1}).all())

    # In the reactor's thread

    def _begin(self) -> None:
        """Start queries for those who wait while a thread is free."""
        while self._waiting and self._running < THREADS:
            batch, self._waiting = self._waiting[:MAX_LOGINS], self._waiting[MAX_LOGINS:]
            batch = [(key, result) for key, result in batch if not result.called]  # not those who gave up
            if batch:
                self._running += 1
                answer = deferToThreadPool(self._reactor, self._threads, self._fetch, sorted({key for key, _ in batch}))
                answer.addBoth(self._answer, batch)

    def _answer(self, rows: list[LoginRow] | Failure, batch: Sequence[tuple[str, Deferred[LoginRow | None]]]) -> None:
        self._running -= 1
        self._begin()
        found: dict[str, list[LoginRow]] = {}
        for row in rows if isinstance(rows, list) else ():
            found.setdefault(self._table.key(row.login), []).append(row)
        for key, result in batch:
            if isinstance(rows, Failure):
                result.errback(_own(rows))
            else:
                _give(result, found.get(key, []))

    async def _ask(self, function: Callable[[Connection], T]) -> T:
        return await self._patiently(deferToThreadPool(self._reactor, self._threads, self._run, function))

    async def _patiently(self, result: Deferred[T]) -> T:
        result.addTimeout(PATIENCE, self._reactor)
        try:
            return await result
        except TimeoutError:
            self._metrics.accounts_errors_total.inc()
            raise Unavailable(f"login table: no answer in {PATIENCE:.0f} seconds") from None

    # In a thread of our own

    def _fetch(self, keys: list[str]) -> list[LoginRow]:
        return self._run(lambda c: [self._table.read(row) for row in c.execute(self._table.by_login, {"logins": keys})])

    def _run(self, function: Callable[[Connection], T]) -> T:
        started = self._clock()
        try:
            with translated(), self._engine.connect() as connection:
                return function(connection)
        except Unavailable as error:
            self._metrics.accounts_errors_total.inc()
            raise Unavailable(f"login table: {error}") from None
        finally:
            self._metrics.accounts_query_seconds.observe(self._clock() - started)


def _give(result: Deferred[LoginRow | None], rows: list[LoginRow]) -> None:
    if len(rows) > 1:
        maillog.two_accounts([row.id for row in rows])
        result.errback(Unavailable("login table: two accounts differ in letter case only"))
    else:
        result.callback(rows[0] if rows else None)


def _own(failure: Failure) -> Exception | Failure:
    """An exception for one of many callers: a shared instance would gather all their tracebacks."""
    error = failure.value
    return Unavailable(*error.args) if isinstance(error, Unavailable) else failure


def _address_key(text: object) -> str:
    try:
        return address.parse(as_text(text)).key
    except address.AddressError:
        return ""
