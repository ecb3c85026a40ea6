"""Bodies as rows of 256 KiB where machines share the store. Implements `gateway.queue.ports.Bodies`.

Each chunk is committed by the writer while the body arrives, so a body is whole and durable before a message row names it;
after a crash there may be chunks without a row, never a row without its chunks. Reading takes a chunk at a time, and a
body that is not whole raises instead of ending early. Whoever removes a body commits the end of its message row first.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select

from gateway.errors import Damaged, Unavailable
from gateway.queue.model import BodyRef, Inline, Spooled
from gateway.queue.ports import BodyReader, BodyWriter
from gateway.queue.spool import InlineReader
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.schema import body_chunk, message

CHUNK = 256 * 1024  # octets
SWEPT_AT_ONCE = 500  # names in one question to the store

_PUT = insert(body_chunk).values(at=now())
_GET = select(body_chunk.c.data).where(body_chunk.c.name == bindparam("name"), body_chunk.c.position == bindparam("position"))
_REMOVE = delete(body_chunk).where(body_chunk.c.name == bindparam("name"))
_OLD_ORPHANS = (
    select(body_chunk.c.name)
    .where(~exists().where(message.c.body_file == body_chunk.c.name))
    .group_by(body_chunk.c.name)
    .having(func.max(body_chunk.c.at) < now() - bindparam("age"))
    .limit(SWEPT_AT_ONCE)
)


class Chunks:
    """The bodies in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> BodyWriter:
        """See the port. A name that is there already is refused with the first chunk."""
        return _Writer(self._database, name)

    async def open(self, body: BodyRef) -> BodyReader:
        """See the port."""
        if isinstance(body, Inline):
            return InlineReader(body.data)
        reader = _Reader(self._database, body)
        await reader.look()
        return reader

    async def remove(self, body: Spooled) -> None:
        """See the port. What cannot be removed now is swept later."""
        await _removed(self._database, body.name)

    async def sweep_orphans(self, live: Callable[[list[str]], Awaitable[set[str]]], older_than: float) -> int:
        """Remove bodies untouched for `older_than` seconds that no row names; how many there were.

        `live` is asked after they were found: a row that names one of them is there by then, or never will be. Each goes in
        a transaction of its own, because a long one would hold up those who wait for their 250. Raises Unavailable.
        """
        found = await self._database.read(lambda connection: _old_orphans(connection, older_than))
        orphans = sorted(set(found) - await live(found)) if found else []
        for name in orphans:
            await self._database.write(partial(remove, name=name))
        return len(orphans)


class _Writer:
    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._pending = bytearray()
        self._chunks = self._size = 0
        self._finished = False

    async def write(self, data: bytes) -> None:
        self._pending += data
        self._size += len(data)
        while len(self._pending) >= CHUNK:
            await self._put()

    async def finish(self, rest: bytes = b"") -> Spooled:
        await self.write(rest)
        if self._pending:
            await self._put()
        self._finished = True
        return Spooled(self._name, self._size)

    async def discard(self) -> None:
        self._pending.clear()
        if self._chunks and not self._finished:  # without a chunk of ours, what has this name is another's
            await _removed(self._database, self._name)

    async def _put(self) -> None:
        chunk = {"name": self._name, "position": self._chunks, "data": bytes(self._pending[:CHUNK])}
        del self._pending[:CHUNK]
        await self._database.write(lambda connection: connection.execute(_PUT, chunk) and None)
        self._chunks += 1


class _Reader:
    def __init__(self, database: Database, body: Spooled) -> None:
        self._database = database
        self._body = body
        self._position = self._left = 0
        self._ahead: bytes | None = None  # read by `look`

    async def look(self) -> None:
        """Read the first chunk, to know that the body is there. Raises Unavailable."""
        self._left = self._body.size
        self._ahead = await self.read()

    async def read(self) -> bytes:
        if self._ahead is not None:
            block, self._ahead = self._ahead, None
            return block
        if not self._left:
            return b""
        where = {"name": self._body.name, "position": self._position}
        found = await self._database.read(lambda connection: connection.execute(_GET, where).scalar())
        if not found or len(found) > self._left:
            there = self._body.size - self._left + len(found or b"")
            raise Damaged(f"The message is damaged: {there} of {self._body.size} octets of its body are in the store")
        self._position += 1
        self._left -= len(found)
        return bytes(found)

    def close(self) -> None:
        self._left, self._ahead = 0, None


def remove(connection: Connection, name: str) -> None:
    """Remove a body; one that is not there is fine."""
    connection.execute(_REMOVE, {"name": name})


async def _removed(database: Database, name: str) -> None:
    with suppress(Unavailable):
        await database.write(partial(remove, name=name))


def _old_orphans(connection: Connection, older_than: float) -> list[str]:
    return list(connection.execute(_OLD_ORPHANS, {"age": older_than}).scalars())
