"""The spool's files: modes, order of syncs, disk faults, orphans. Reading and writing: tests/contract/test_bodies.py."""

import errno
import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from gateway.errors import ConfigError, Damaged, StorageFull, Unavailable
from gateway.queue.body import INLINE, BodyBuffer
from gateway.queue.model import Spooled
from gateway.queue.ports import BodyWriter
from gateway.queue.spool import BLOCK, Spool, unlink
from tests.descriptors import open_descriptors
from tests.pump import Pump, deferred

T = TypeVar("T")
NAME = "00000000000000zY"
DAY = 86_400.0


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture
def spool(tmp_path: Path, pump: Pump) -> Iterator[Spool]:
    pool = ThreadPool(1, 4)

    def run(function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        return deferToThreadPool(pump, pool, function, *arguments)

    spool = Spool(tmp_path / "spool", run)
    spool.prepare()
    pool.start()
    yield spool
    pool.stop()


def begun(pump: Pump, spool: Spool, data: bytes = b"data", name: str = NAME) -> BodyWriter:
    writer = pump.result(spool.create(name))
    pump.result(writer.write(data))
    return writer


def files(spool: Spool) -> list[str]:
    return sorted(str(path.relative_to(spool.folder)) for path in spool.folder.rglob("*") if path.is_file())


def test_a_body_grows_in_tmp_and_ends_under_its_name_for_the_owner_alone(pump: Pump, spool: Spool) -> None:
    writer = begun(pump, spool)
    assert files(spool) == [f"tmp/{NAME}"]
    assert pump.result(writer.finish()) == Spooled(NAME, 4)
    assert files(spool) == [f"zY/{NAME}"]
    assert (spool.folder / "zY" / NAME).stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (spool.folder, spool.folder / "tmp", spool.folder / "zY")} == {0o700}


def test_all_is_synced_before_it_has_its_name(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        events.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(spool.folder)))
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    pump.result(begun(pump, spool).finish())
    assert events == [f"sync /tmp/{NAME}", "sync ", "rename", "sync /zY"]
    events.clear()
    pump.result(begun(pump, spool, name="00000000000001zY").finish())
    assert events == ["sync /tmp/00000000000001zY", "rename", "sync /zY"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, Unavailable),
        (errno.EROFS, Unavailable),
        (errno.EMFILE, Unavailable),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_what_the_disk_says_is_sorted(
    pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[Unavailable]
) -> None:
    async def accept() -> None:
        writer = await spool.create(NAME)
        try:
            await writer.write(b"data")
            await writer.finish()
        finally:
            await writer.discard()

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        assert type(pump.failure(accept())) is kind
    assert files(spool) == []


def test_a_failed_sync_is_not_tried_again_and_the_file_goes(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, []

    def fail_for_the_folder(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the file, the spool, and now the folder that has the new name
            raise OSError(errno.EIO, "I/O error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_the_folder)
    writer = begun(pump, spool)
    assert isinstance(pump.failure(writer.finish()), Unavailable)
    pump.result(writer.discard())
    assert len(calls) == 3
    assert files(spool) == []


def test_a_folder_whose_entry_cannot_be_synced_is_abandoned_too(
    pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next body in it would find it there, and a sync that has nothing more to say."""
    fsync, calls = os.fsync, []

    def fail_for_the_spool(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:  # the file, and now the spool that has the new folder
            raise OSError(errno.EIO, "I/O error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_the_spool)
    writer = begun(pump, spool)
    assert isinstance(pump.failure(writer.finish()), Unavailable)
    pump.result(writer.discard())
    assert files(spool) == []
    assert not (spool.folder / "zY").exists()
    pump.result(begun(pump, spool).finish())
    assert len(calls) == 5  # the file, the spool again, the folder
    assert files(spool) == [f"zY/{NAME}"]


def test_a_folder_with_bodies_in_it_stays_when_it_cannot_be_synced(
    tmp_path: Path, pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finished(pump, spool, "00000000000001zY")
    again = Spool(tmp_path / "spool", spool._run)  # a new life, which knows of no folder
    with monkeypatch.context() as patch:
        patch.setattr("gateway.queue.spool._sync_folder", _no_sync)
        writer = begun(pump, again)
        assert isinstance(pump.failure(writer.finish()), Unavailable)
    pump.result(writer.discard())
    assert files(again) == ["zY/00000000000001zY"]


def _no_sync(folder: Path) -> None:
    raise OSError(errno.EIO, "I/O error")


def _finished(pump: Pump, spool: Spool, name: str) -> Path:
    pump.result(begun(pump, spool, name=name).finish())
    return spool.folder / name[-2:] / name


def test_a_partial_write_goes_on(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    pump.result(begun(pump, spool, b"0123456789").finish())
    assert (spool.folder / "zY" / NAME).read_bytes() == b"0123456789"


def test_what_the_kernel_has_in_memory_is_read_without_a_thread(
    pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2 * BLOCK + 100)
    reader = pump.result(spool.open(pump.result(begun(pump, spool, data).finish())))
    monkeypatch.setattr(os, "pread", _never)
    assert [pump.result(reader.read()) for _ in range(4)] == [data[:BLOCK], data[BLOCK : 2 * BLOCK], data[2 * BLOCK :], b""]
    reader.close()


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space left")


def _never(*_: object) -> bytes:
    raise AssertionError


def _not_cached(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "not in memory")


def _nothing(*_: object) -> int:
    """As Linux 5.9 and 5.10 may say it in the middle of a file."""
    return 0


def _partly_cached(descriptor: int, buffers: list[bytearray], position: int, flags: int) -> int:
    """A page is in memory, the next one is not."""
    if position % 8192:
        return _not_cached()
    buffers[0][:4096] = os.pread(descriptor, 4096, position).ljust(4096)
    return min(4096, os.fstat(descriptor).st_size - position)


def _seems_at_its_end(descriptor: int, buffers: list[bytearray], position: int, flags: int) -> int:
    """Linux 5.10, where a page is in memory and the next one is not."""
    return 0 if position % 8192 else _partly_cached(descriptor, buffers, position, flags)


@pytest.mark.parametrize("preadv", [_not_cached, _nothing, _partly_cached, _seems_at_its_end, None])
def test_what_the_kernel_does_not_have_is_read_in_a_thread(
    pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch, preadv: Callable[..., int] | None
) -> None:
    data = os.urandom(BLOCK + 5000)
    body = pump.result(begun(pump, spool, data).finish())
    if preadv is None:
        monkeypatch.delattr(os, "preadv")  # as on systems without it
    else:
        monkeypatch.setattr(os, "preadv", preadv)
    reader = pump.result(spool.open(body))
    blocks = []
    while block := pump.result(reader.read()):
        blocks.append(block)
    assert b"".join(blocks) == data
    reader.close()


@pytest.mark.parametrize(("size", "writing"), [(INLINE + 1, 2), (1_000_000, 5), (10_000_000, 41)])
def test_how_often_threads_are_asked(tmp_path: Path, size: int, writing: int) -> None:
    """Each time costs more than copying 256 KiB does. To read what was just written: to open and to close."""
    pump, asked = Pump(), []

    def run(function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        asked.append(arguments[0])
        return execute(function, *arguments)

    spool = Spool(tmp_path / "spool", run)
    spool.prepare()
    buffer = BodyBuffer(spool, NAME)
    for start in range(0, size, 65_536):
        pump.result(buffer.write(bytes(min(65_536, size - start))))
    body = pump.result(buffer.finish())
    assert len(asked) <= writing, asked
    asked.clear()
    reader = pump.result(spool.open(body))
    assert sum(len(block) for block in iter(lambda: pump.result(reader.read()), b"")) == size
    reader.close()
    assert len(asked) <= 2 + size // 500_000, asked  # the system may say "not now" of one or the other block


def test_discard_waits_for_the_write_that_its_caller_gave_up(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = begun(pump, spool)
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    order: list[str] = []
    write, close = os.write, os.close

    def slow(descriptor: int, data: bytes) -> int:
        gate.get(timeout=60)
        order.append("written")
        return write(descriptor, data)

    def noted(descriptor: int) -> None:
        order.append("closed")
        close(descriptor)

    monkeypatch.setattr(os, "write", slow)
    monkeypatch.setattr(os, "close", noted)
    writing = deferred(writer.write(b"more"))
    writing.cancel()
    assert isinstance(pump.failure(writing), CancelledError)
    discarding = deferred(writer.discard())
    gate.put(None)
    pump.result(discarding)
    assert order == ["written", "closed"]
    assert files(spool) == []


def test_a_descriptor_that_nobody_waits_for_is_closed(pump: Pump, spool: Spool) -> None:
    before = open_descriptors()
    creating = deferred(spool.create(NAME))
    creating.cancel()
    assert isinstance(pump.failure(creating), CancelledError)
    pump.until(lambda: (spool.folder / "tmp" / NAME).exists() and open_descriptors() <= before)


@pytest.mark.parametrize("full", [False, True])
def test_the_end_of_a_body_closes_its_file(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    before = open_descriptors()
    writer = begun(pump, spool)
    assert open_descriptors() == before + 1
    if full:
        monkeypatch.setattr(os, "fsync", _no_space)
        assert isinstance(pump.failure(writer.finish()), StorageFull)
    else:
        pump.result(writer.finish())
    assert open_descriptors() == before


def test_nothing_can_be_written_after_the_end(pump: Pump, spool: Spool) -> None:
    writer = begun(pump, spool)
    pump.result(writer.finish())
    assert isinstance(pump.failure(writer.write(b"more")), Unavailable)
    assert (spool.folder / "zY" / NAME).read_bytes() == b"data"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/../../../b", "0000000000000.01", "x" * 65, "0000000\n", "tmp"])
def test_other_names_than_queue_ids_are_refused(pump: Pump, spool: Spool, name: str) -> None:
    assert isinstance(pump.failure(spool.create(name)), ValueError)
    assert isinstance(pump.failure(spool.open(Spooled(name, 1))), ValueError)
    with pytest.raises(ValueError):
        unlink(spool.folder, name)


def _aged(path: Path, age: float) -> None:
    when = path.stat().st_mtime - age
    os.utime(path, (when, when))


async def nobody(names: list[str]) -> set[str]:
    return set()


def test_orphans_are_swept_when_old_and_named_by_no_row(pump: Pump, spool: Spool) -> None:
    for name in ("oldorphan1", "oldneeded1", "neworphan1"):
        pump.result(begun(pump, spool, name=name).finish())
    begun(pump, spool, name="oldgrowing")
    for name in ("oldorphan1", "oldneeded1", "oldgrowing"):
        _aged(next(spool.folder.rglob(name)), DAY + 100)
    asked: list[str] = []

    async def live(names: list[str]) -> set[str]:
        asked.extend(names)
        return {"oldneeded1"}

    assert pump.result(spool.sweep_orphans(live, DAY)) == 0
    assert sorted(asked) == ["oldgrowing", "oldneeded1", "oldorphan1"]
    assert len(files(spool)) == 4
    assert pump.result(spool.sweep_orphans(live, DAY)) == 2
    assert {Path(name).name for name in files(spool)} == {"neworphan1", "oldneeded1"}
    assert pump.result(spool.sweep_orphans(live, DAY)) == 0


def test_a_body_whose_row_comes_late_is_never_swept(pump: Pump, spool: Spool) -> None:
    """The store refused its row for a day, or the clock was stepped by one just before the row was committed."""
    pump.result(begun(pump, spool).finish())
    _aged(spool.folder / "zY" / NAME, DAY + 100)
    rows: set[str] = set()

    async def live(names: list[str]) -> set[str]:
        there = rows & set(names)
        rows.add(NAME)  # committed as soon as it was looked for
        return there

    for _ in range(3):
        assert pump.result(spool.sweep_orphans(live, DAY)) == 0
    assert files(spool) == [f"zY/{NAME}"]


def test_an_orphan_that_was_needed_in_between_has_two_looks_again(pump: Pump, spool: Spool) -> None:
    pump.result(begun(pump, spool).finish())
    _aged(spool.folder / "zY" / NAME, DAY + 100)

    async def everybody(names: list[str]) -> set[str]:
        return set(names)

    removed = [pump.result(spool.sweep_orphans(live, DAY)) for live in (nobody, everybody, nobody, nobody)]
    assert removed == [0, 0, 0, 1]


def test_a_clock_that_was_stepped_back_sweeps_nothing(pump: Pump, spool: Spool) -> None:
    pump.result(begun(pump, spool).finish())
    _aged(spool.folder / "zY" / NAME, -10 * DAY)
    assert [pump.result(spool.sweep_orphans(nobody, DAY)) for _ in range(2)] == [0, 0]


def test_orphans_are_swept_in_small_steps(pump: Pump, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.queue.spool.SWEPT_AT_ONCE", 2)
    for n in range(5):
        _aged(_finished(pump, spool, f"0000000{n}zY"), DAY + 100)
    asked: list[int] = []

    async def live(names: list[str]) -> set[str]:
        asked.append(len(names))
        return set()

    assert [pump.result(spool.sweep_orphans(live, DAY)) for _ in range(2)] == [0, 5]
    assert asked == [2, 2, 1] * 2


def test_no_orphan_is_swept_while_the_store_is_away(pump: Pump, spool: Spool) -> None:
    pump.result(begun(pump, spool).finish())
    _aged(spool.folder / "zY" / NAME, 2 * DAY)

    async def away(names: list[str]) -> set[str]:
        raise Unavailable("away")

    assert pump.result(spool.sweep_orphans(nobody, DAY)) == 0
    assert isinstance(pump.failure(spool.sweep_orphans(away, DAY)), Unavailable)
    assert pump.result(spool.sweep_orphans(nobody, DAY)) == 0  # two looks in a row, and this one is the first again
    assert files(spool) == [f"zY/{NAME}"]


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()

    def run(function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        raise AssertionError

    with pytest.raises(ConfigError, match=r"store.url: cannot make .*spool: "):
        Spool(tmp_path / "spool", run).prepare()


@pytest.mark.parametrize("change", [-1, -BLOCK, -2 * BLOCK, 1])
def test_a_file_that_is_not_as_long_as_it_was_is_not_opened(pump: Pump, spool: Spool, change: int) -> None:
    size = 2 * BLOCK + 10
    body = pump.result(begun(pump, spool, b"x" * size).finish())
    os.truncate(spool.folder / "zY" / NAME, size + change)
    error = pump.failure(spool.open(body))
    assert isinstance(error, Damaged)
    assert str(error) == f"The message is damaged: {size + change} of {size} octets of its body are on disk"


def test_a_file_that_is_shortened_while_it_is_read_does_not_end_early(pump: Pump, spool: Spool) -> None:
    body = pump.result(begun(pump, spool, b"x" * (BLOCK + 10)).finish())
    reader = pump.result(spool.open(body))
    assert len(pump.result(reader.read())) == BLOCK
    os.truncate(spool.folder / "zY" / NAME, BLOCK)
    for _ in range(2):
        assert isinstance(pump.failure(reader.read()), Damaged)
    reader.close()


def test_what_is_appended_to_a_file_is_none_of_it(pump: Pump, spool: Spool) -> None:
    body = pump.result(begun(pump, spool, b"x" * (BLOCK + 10)).finish())
    reader = pump.result(spool.open(body))
    with (spool.folder / "zY" / NAME).open("ab") as file:
        file.write(b"y" * 100)
    assert pump.result(reader.read()) + pump.result(reader.read()) == b"x" * (BLOCK + 10)
    assert pump.result(reader.read()) == b""
    reader.close()
