"""Bodies as files on one machine. Implements `gateway.queue.ports.Bodies`.

A body grows in `tmp/`, is synced, renamed into the folder named by the last two characters of its queue id (the first ones
are the time, and would put a day's mail into one folder), and that folder is synced: only then may a row name it. After a
crash there may be files without a row, never a row without its file. A failed fsync is never tried again: the kernel may
have dropped the pages and would report success (PostgreSQL's fsync lesson, 2018); the file is abandoned, and so is a new
folder whose entry could not be synced.

Orphans are swept with two looks, one sweep apart. A file's age is by the file system's clock, which can be stepped, and a
row may be long in coming when the store refuses commits: a body without a row may just be finished, but not still at the
next sweep.

All file work that may wait for the disk runs in threads; only what the kernel has in memory is read without one. A caller
that gives up does not stop a thread, so each file does one thing after the other (`_OpenFile.step`), and a descriptor is
closed only when nothing uses it.
"""

import errno
import math
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from gateway.errors import ConfigError, Damaged, StorageFull, Unavailable
from gateway.queue.model import BodyRef, Inline, Spooled
from gateway.queue.ports import BodyReader, BodyWriter

T = TypeVar("T")

BLOCK = 256 * 1024  # octets in one read
SWEPT_AT_ONCE = 500  # names in one question to the store, or files removed in one turn of a thread
_NAME = re.compile(r"[0-9A-Za-z_]{8,64}")  # what a queue id can look like: never a path
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Run(Protocol):
    """Runs a function in a thread of the spool's own pool."""

    def __call__(self, function: Callable[..., T], /, *arguments: Any) -> Deferred[T]: ...


class Spool:
    """The folder of spooled bodies; `prepare` comes first."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self._run = run
        self._durable: set[Path] = set()  # subfolders whose own entry is known to be on disk
        self._suspects: set[Path] = set()  # old files that no row named at the last sweep
        self._block = bytearray(BLOCK)  # for reads in the reactor's own thread, one at a time

    def prepare(self) -> None:
        """Make the folder, for its owner alone. Raises ConfigError. Blocks: for the start only."""
        try:
            (self.folder / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            _sync_folder(self.folder.parent)
        except OSError as error:
            raise ConfigError([f"store.url: cannot make {self.folder}: {error.strerror}"]) from None

    async def create(self, name: str) -> BodyWriter:
        """See the port."""
        _check(name)
        file = _OpenFile(await self._descriptor(_create, self.folder / "tmp" / name), self._run)
        return _Writer(self, name, file)

    async def open(self, body: BodyRef) -> BodyReader:
        """See the port."""
        if isinstance(body, Inline):
            return InlineReader(body.data)
        file = _OpenFile(await self._descriptor(partial(_open, body.size), path_of(self.folder, body.name)), self._run)
        return _Reader(file, body.size, self._block)

    async def remove(self, body: Spooled) -> None:
        """See the port. What cannot be removed now is swept later."""
        await self._run(unlink, self.folder, body.name)

    async def sweep_orphans(self, live: Callable[[list[str]], Awaitable[set[str]]], older_than: float) -> int:
        """Remove files untouched for `older_than` seconds that no row names, at this sweep and the one before; how many.

        `live` is asked after the files were found. Raises Unavailable; then nothing counts as seen twice the next time.
        """
        before, self._suspects = self._suspects, set()
        found: set[Path] = set()
        removed = 0
        limit = await self._run(_translated, _file_clock, self.folder) - older_than
        for folder in await self._run(_translated, _subfolders, self.folder):
            old = await self._run(_translated, _old_files, folder, limit)
            for start in range(0, len(old), SWEPT_AT_ONCE):
                some = old[start : start + SWEPT_AT_ONCE]
                needed = await live(sorted({path.name for path in some}))
                orphans = {path for path in some if folder.name == "tmp" or path.name not in needed}
                await self._run(_unlink_all, orphans & before)
                removed += len(orphans & before)
                found |= orphans - before
        self._suspects = found
        return removed

    def _descriptor(self, function: Callable[[Path], int], path: Path) -> Deferred[int]:
        """Open in a thread; when the caller has given up meanwhile, nobody else would close what comes."""
        outer: Deferred[int] = Deferred()

        def settle(result: int | Failure) -> None:
            if outer.called and not isinstance(result, Failure):
                os.close(result)
            _pass_on(result, outer)

        self._run(_translated, function, path).addBoth(settle)
        return outer

    def make_durable(self, descriptor: int, name: str, rest: bytes) -> None:
        """Write the rest, sync, rename, sync the folder. Runs in a thread; raises OSError."""
        _write_all(descriptor, rest)
        os.fsync(descriptor)
        path = path_of(self.folder, name)
        if path.parent not in self._durable:
            _make_folder(path.parent)
            self._durable.add(path.parent)  # only now: another thread must not rely on an entry not yet synced
        (self.folder / "tmp" / name).rename(path)
        _sync_folder(path.parent)


class _OpenFile:
    """A descriptor that one thread at a time works on."""

    def __init__(self, descriptor: int, run: Run) -> None:
        self._descriptor = descriptor
        self._run = run
        self._lock = DeferredLock()

    def step(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """`function(descriptor, *arguments)` in a thread, once the steps before are done."""
        outer: Deferred[T] = Deferred()
        descriptor = self._descriptor  # as it is now: what is asked for after `close` gets -1, never a number used again

        def settle(result: Any) -> None:
            self._lock.release()
            _pass_on(result, outer)

        def begin(lock: object) -> None:
            self._run(_translated, function, descriptor, *arguments).addBoth(settle)

        self._lock.acquire().addCallback(begin)
        return outer

    def at_once(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(descriptor, *arguments)` in this thread, whatever others do with the file. It must not wait."""
        return function(self._descriptor, *arguments)

    def last_step(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """As `step`; the descriptor is closed after it, whatever comes of it."""
        done = self.step(_and_close, function, *arguments)
        self._descriptor = -1
        return done

    def close(self) -> Deferred[None]:
        """Close once the steps before are done."""
        closed = self.step(_close)
        self._descriptor = -1
        return closed


class _Writer:
    def __init__(self, spool: Spool, name: str, file: _OpenFile) -> None:
        self._spool = spool
        self._name = name
        self._file = file
        self._size = 0
        self._finished = False

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        await self._file.step(_write_all, data)

    async def finish(self, rest: bytes = b"") -> Spooled:
        self._size += len(rest)
        await self._file.last_step(self._spool.make_durable, self._name, rest)
        self._finished = True
        return Spooled(self._name, self._size)

    async def discard(self) -> None:
        if self._finished:
            return
        await self._file.close()
        await self._file.step(_abandon, self._spool.folder, self._name)


class _Reader:
    """Reads what the kernel has in memory at once: a large message goes out soon after it came, and threads cost more."""

    def __init__(self, file: _OpenFile, size: int, buffer: bytearray) -> None:
        self._file = file
        self._size = size
        self._buffer = buffer
        self._position = 0

    async def read(self) -> bytes:
        if self._position >= self._size:
            return b""
        block = self._file.at_once(_read_cached, self._buffer, self._position)
        if not block:
            block = await self._file.step(_read_block, self._position)
        block = block[: self._size - self._position]  # what was appended since is none of it
        if not block:  # shortened since it was opened
            raise _damaged(self._position, self._size)
        self._position += len(block)
        return block

    def close(self) -> None:
        self._file.close()


class InlineReader:
    """BodyReader of a body that is in its message row."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def read(self) -> bytes:
        block, self._data = bytes(self._data[:BLOCK]), self._data[BLOCK:]
        return block

    def close(self) -> None:
        self._data = memoryview(b"")


def unlink(folder: Path, name: str) -> None:
    """Remove a body of the spool `folder`; one that is not there, or cannot be removed now, is fine."""
    with suppress(OSError):
        path_of(folder, name).unlink()


def path_of(folder: Path, name: str) -> Path:
    _check(name)
    return folder / name[-2:] / name


def _check(name: str) -> None:
    """Raises ValueError: names come from our own rows and ids, so another one is a bug, or a row that was tampered with."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("not the name of a spooled body")


def _read_cached(descriptor: int, buffer: bytearray, position: int) -> bytes:
    """As much of the block as is in the kernel's memory; b"" when the disk has to be asked, or the system cannot say.

    That is no end: Linux 5.9 and 5.10 may read nothing in the middle of a file (preadv(2), "BUGS").
    """
    try:
        octets = os.preadv(descriptor, [buffer], position, os.RWF_NOWAIT)
    except (OSError, AttributeError):  # what is wrong comes out in the thread
        return b""
    return bytes(memoryview(buffer)[:octets])


def _pass_on(result: Any, outer: Deferred[Any]) -> None:
    """Fire `outer`, which drops it when its caller has given up."""
    if isinstance(result, Failure):
        outer.errback(result)
    else:
        outer.callback(result)


# What follows runs in threads.


def _translated(function: Callable[..., T], *arguments: Any) -> T:
    """Raises StorageFull or Unavailable for an OSError."""
    try:
        return function(*arguments)
    except OSError as error:
        kind = StorageFull if error.errno in _FULL else Unavailable
        raise kind(f"spool: {error.strerror}") from error


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _open(size: int, path: Path) -> int:
    """Raises Damaged for a file that has not `size` octets: a part of a message must not go out as if it were the whole."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    there = os.fstat(descriptor).st_size
    if there != size:
        os.close(descriptor)
        raise _damaged(there, size)
    return descriptor


def _damaged(there: int, size: int) -> Damaged:
    return Damaged(f"The message is damaged: {there} of {size} octets of its body are on disk")


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read_block(descriptor: int, position: int) -> bytes:
    return os.pread(descriptor, BLOCK, position)


def _close(descriptor: int) -> None:
    with suppress(OSError):  # what matters was synced before; an abandoned file may say what it likes
        os.close(descriptor)


def _and_close(descriptor: int, function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(descriptor, *arguments)
    finally:
        _close(descriptor)


def _abandon(descriptor: int, folder: Path, name: str) -> None:
    unlink(folder, name)  # there when the rename worked and the sync after it did not
    with suppress(OSError):
        (folder / "tmp" / name).unlink()


def _make_folder(folder: Path) -> None:
    """A subfolder whose entry is on disk. When it cannot be synced it goes again: the next sync of it would say nothing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        _sync_folder(folder.parent)
    except OSError:
        with suppress(OSError):  # one that has files in it was synced in an earlier life
            folder.rmdir()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _subfolders(folder: Path) -> list[Path]:
    return [sub for sub in folder.iterdir() if sub.is_dir()]


def _old_files(folder: Path, limit: float) -> list[Path]:
    """Files last written before `limit`, by the file system's own clock."""
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and _written(path) < limit]


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # renamed or removed since the folder was read
        return math.inf


def _file_clock(folder: Path) -> float:
    probe = folder / "tmp" / "now"
    probe.touch(mode=0o600)
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _unlink_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
