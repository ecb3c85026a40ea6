"""MaildirHop: what lies in the folders afterwards."""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from gateway.errors import Damaged, Unavailable
from gateway.metrics import Metrics
from gateway.queue.model import Envelope, Outcome, QueuedMessage, Result, Spooled
from gateway.queue.spool import BLOCK, Spool
from gateway.relay.maildir import MAX_FOLDER, MaildirHop, folder_name
from tests.unit.awaiting import failure_of, value_of
from tests.unit.relay.faulty_hop import BlockBodies, message, trusted

T = TypeVar("T")
NAME = "0123456789abcdef.1.gw.example"
BIG = Spooled("big", 100)


def run(function: Callable[..., T], *args: object) -> Deferred[T]:
    """A thread that is at once done."""
    try:
        return succeed(function(*args))
    except OSError:
        return fail()


def run_spool(function: Callable[..., T], /, *args: Any) -> Deferred[T]:
    try:
        return succeed(function(*args))
    except Exception:
        return fail()


class Box:
    def __init__(self, path: Path, blocks: Iterable[bytes] = (), fail_at: int | None = None, run: Any = run) -> None:
        self.path = path
        self.bodies = BlockBodies(blocks, fail_at)
        self.metrics = Metrics(CollectorRegistry())
        self.hop = MaildirHop(path, run, "gw.example", label="maildir", bodies=self.bodies, clock=Clock(), metrics=self.metrics)

    def send(self, queued: QueuedMessage | None = None) -> Deferred[list[Outcome]]:
        queued = queued or message()
        return Deferred.fromCoroutine(self.hop.deliver(queued, queued.recipients, trusted(queued)))

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.path)): p.read_bytes() for p in self.path.rglob("*") if p.is_file()}


def test_one_copy_a_recipient_with_its_own_address_only(tmp_path: Path) -> None:
    box = Box(tmp_path)
    outcomes = value_of(box.send(message("B@Y.example", "c@y.example")))
    assert [(o.result, o.code, o.hop) for o in outcomes] == [(Result.DELIVERED, 250, "maildir")] * 2
    start, end = b"Return-Path: <a@x.example>\nDelivered-To: ", b"\nSubject: s\n\nhello\n"
    assert box.files() == {
        "b@y.example/new/0123456789abcdef.1.gw.example": start + b"B@Y.example" + end,
        "c@y.example/new/0123456789abcdef.2.gw.example": start + b"c@y.example" + end,
    }
    assert (tmp_path / "b@y.example").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "b@y.example/new" / NAME).stat().st_mode & 0o777 == 0o600
    count = "smtp_gateway_delivery_attempt_seconds_count"
    assert box.metrics.registry.get_sample_value(count, {"hop": "maildir"}) == 1


def test_null_sender_and_utf8(tmp_path: Path) -> None:
    box = Box(tmp_path)
    value_of(box.send(replace(message("ö@y.example"), envelope=Envelope(""))))
    (text,) = box.files().values()
    assert text.startswith("Return-Path: <>\nDelivered-To: ö@y.example\n".encode())
    assert (tmp_path / "%C3%B6@y.example").is_dir()


@given(cuts=st.lists(st.integers(0, 30), max_size=5))
def test_line_ends_across_blocks(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    body = b"a\r\n\r\n.b\r\nlong line\r\n\r\nend\r\r\n\r"
    points = [0, *sorted({cut for cut in cuts if 0 < cut < len(body)}), len(body)]
    box = Box(tmp_path_factory.mktemp("box"), [body[a:b] for a, b in pairwise(points)])
    value_of(box.send(message(body=BIG)))
    (text,) = box.files().values()
    assert text.endswith(b"\n\na\n\n.b\nlong line\n\nend\r\n\r")


@pytest.mark.parametrize("moved", ["new/" + NAME, "cur/" + NAME, "cur/" + NAME + ":2,S"])
def test_delivered_again_after_a_crash_is_one_message(tmp_path: Path, moved: str) -> None:
    box = Box(tmp_path)
    value_of(box.send())
    folder = tmp_path / "b@y.example"
    os.rename(folder / "new" / NAME, folder / moved)
    (outcome,) = value_of(box.send())
    assert outcome.result is Result.DELIVERED
    assert list(box.files()) == [f"b@y.example/{moved}"]


def test_a_piece_left_in_tmp_by_a_crash_is_replaced(tmp_path: Path) -> None:
    box = Box(tmp_path)
    value_of(box.send())
    folder = tmp_path / "b@y.example"
    whole = (folder / "new" / NAME).read_bytes()
    os.rename(folder / "new" / NAME, folder / "tmp" / NAME)
    with open(folder / "tmp" / NAME, "ab") as piece:
        piece.write(b"rest of another life")
    value_of(box.send())
    assert box.files() == {f"b@y.example/new/{NAME}": whole}


@pytest.mark.parametrize(("number", "enhanced"), [(errno.ENOSPC, "4.3.1"), (errno.EDQUOT, "4.3.1"), (errno.EIO, "4.3.0")])
@pytest.mark.parametrize("failing", ["begin", "write", "finish"])
def test_disk_trouble_is_a_retry_that_leaves_nothing(tmp_path: Path, failing: str, number: int, enhanced: str) -> None:
    def broken(function: Callable[..., T], *args: object) -> Deferred[T]:
        return fail(OSError(number, os.strerror(number))) if function.__name__ == failing else run(function, *args)

    box = Box(tmp_path, [b"a\r\n", b"b\r\n"], run=broken)
    (outcome,) = value_of(box.send(message(body=BIG)))
    assert (outcome.result, outcome.code, outcome.enhanced) == (Result.RETRY, 0, enhanced)
    assert outcome.text == f"Cannot write to the Maildir: {os.strerror(number)}"
    assert box.files() == {}
    assert box.bodies.readers[0].closed


def test_a_file_where_the_folder_should_be_is_a_retry(tmp_path: Path) -> None:
    (tmp_path / "b@y.example").write_bytes(b"")
    (outcome,) = value_of(Box(tmp_path).send())
    assert outcome.result is Result.RETRY


@pytest.mark.parametrize("fail_at", [0, 1])
def test_a_body_that_cannot_be_read_leaves_nothing(tmp_path: Path, fail_at: int) -> None:
    box = Box(tmp_path, [b"a\r\n", b"b\r\n"], fail_at)
    failure_of(box.send(message(body=BIG)), Unavailable)
    assert box.files() == {}
    assert box.bodies.readers[0].closed


@pytest.mark.parametrize(("size", "begun"), [(0, False), (BLOCK, False), (2 * BLOCK + 11, False), (BLOCK, True)])
def test_a_file_that_is_not_whole_shows_nothing(tmp_path: Path, size: int, begun: bool) -> None:
    """`begun`: it changes its size while it is delivered."""
    spool = Spool(tmp_path / "spool", run_spool)
    spool.prepare()

    async def spooled() -> Spooled:
        writer = await spool.create(NAME[:16])
        await writer.write(b"x" * (2 * BLOCK + 10))
        return await writer.finish()

    body = value_of(Deferred.fromCoroutine(spooled()))
    (file,) = (path for path in (tmp_path / "spool").rglob(NAME[:16]))

    def run_and_cut(function: Callable[..., T], *args: object) -> Deferred[T]:
        os.truncate(file, size)
        return run(function, *args)

    box = Box(tmp_path / "mail", run=run_and_cut if begun else run)
    box.hop._bodies = spool
    if not begun:
        os.truncate(file, size)
    failure_of(box.send(message(body=body)), Damaged)
    assert box.files() == {}


FOLDERS = [
    ("Bob.Jones+x_y-z@Y.Example", "bob.jones+x_y-z@y.example"),
    ("../../etc@x", "%2E.%2F..%2Fetc@x"),
    (".hidden@x", "%2Ehidden@x"),
    ('"a b"@x', "%22a%20b%22@x"),
    ("50%@x", "50%25@x"),
    ("a:2,S@x", "a%3A2%2Cs@x"),
    ("\0\r\n@x", "%00%0D%0A@x"),
    ("a@[192.0.2.1]", "a@%5B192.0.2.1%5D"),
]


@pytest.mark.parametrize(("address", "folder"), FOLDERS)
def test_folder_names(address: str, folder: str) -> None:
    assert folder_name(address) == folder


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = (folder_name("ö" * 64 + f"@{n}.example") for n in (1, 2))
    assert len(first) == len(second) == MAX_FOLDER
    assert first != second


@given(st.text(min_size=1, max_size=300))
def test_any_text_is_one_visible_folder(text: str) -> None:
    name = folder_name(text)
    assert 0 < len(name) <= MAX_FOLDER
    assert not name.startswith(".")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789ABCDEF@._+-%~")


def test_the_kelvin_sign_is_no_k() -> None:
    assert folder_name("\u212aate@mail.example") != folder_name("kate@mail.example")
