"""A message while it comes in: the same whatever its pieces, bounded, and never with a hole in it."""

import hashlib
import tracemalloc
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway import address, reply
from gateway.draft import MAX_HASHED_ALONE, MAX_HEADER, Draft
from gateway.errors import StorageFull, Unavailable
from gateway.queue.body import INLINE, BodyBuffer
from gateway.queue.model import Inline, Spooled
from gateway.reply import Reply
from gateway.smtp.events import BodyEnd
from tests.fakes import FakeBodies
from tests.unit.awaiting import failure_of, value_of
from tests.unit.smtp.pieces import cuts, every_cut

T = TypeVar("T")

HEADER = b"From: demo@example.com\r\nTo: to@example.net\r\nSubject: a\r\n folded one\r\n"
MESSAGE = HEADER + b"\r\nbody: \r\n\r\nmore\r\n"


def run(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    return value_of(Deferred.fromCoroutine(coroutine))


def make(limit: int = 1_000_000, bodies: FakeBodies | None = None) -> Draft:
    return Draft("ID", BodyBuffer(bodies or FakeBodies(), "ID"), limit)


def seen(octets: int, **flaws: bool) -> BodyEnd:
    return BodyEnd(octets, **({"bare_cr": False, "bare_lf": False, "nul": False, "eight_bit": False} | flaws))


def fill(pieces: list[bytes], limit: int = 1_000_000, bodies: FakeBodies | None = None) -> Draft:
    draft = make(limit, bodies)
    for piece in pieces:
        run(draft.take(piece))
    run(draft.finish(seen(sum(map(len, pieces))), bare_newlines=True))
    return draft


def body_of(draft: Draft) -> bytes:
    body = run(draft.stored())
    assert isinstance(body, Inline)
    return body.data


def refused(pieces: list[bytes], limit: int = 1_000_000) -> Reply:
    bodies = FakeBodies()
    said = fill(pieces, limit, bodies).refusal
    assert said is not None
    assert not bodies.growing
    assert not bodies.files
    return said


@pytest.mark.parametrize(
    ("message", "header", "body"),
    [
        (MESSAGE, HEADER, b"body: \r\n\r\nmore\r\n"),
        (b"\r\nbody\r\n", b"", b"body\r\n"),
        (b"\r\n", b"", b""),
        (b"", b"", b""),
        (b"Hello\r\n", b"", b"Hello\r\n"),
        (b"Hello", b"", b"Hello"),
        (b"Hello\r\nA: b\r\n\r\nmore\r\n", b"", b"Hello\r\nA: b\r\n\r\nmore\r\n"),
        (b" a\r\n\r\n", b"", b" a\r\n\r\n"),
        (b"From a\r\nA: b\r\n\r\nc\r\n", b"X-Mailbox-Line: From a\r\nA: b\r\n", b"c\r\n"),
        (b"From a\r\n\r\nc\r\n", b"X-Mailbox-Line: From a\r\n", b"c\r\n"),
        (b"From a\r\nHello\r\n", b"X-Mailbox-Line: From a\r\n", b"Hello\r\n"),
        (b">From a", b"X-Mailbox-Line: >From a\r\n", b""),
        (b"From x\r\n" * 11, b"X-Mailbox-Line: From x\r\n" * 10, b"From x\r\n"),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n", b""),
        (b"Subject: x\r\n", b"Subject: x\r\n", b""),
        (b"A: \r\n\r\n\r\n\r\n", b"A: \r\n", b"\r\n\r\n"),
    ],
)
def test_where_the_header_ends(message: bytes, header: bytes, body: bytes) -> None:
    for pieces in [[message], *every_cut(message)]:
        draft = fill(pieces)
        assert draft.refusal is None
        assert (draft.header.block, body_of(draft)) == (header, body), pieces


fields = st.sampled_from(
    [
        b"From a\r\n",
        b">From b\r\n",
        b"Bcc: c@d\r\n",
        b"\xff\r\n",
        b"A: b\r\n",
        b"Subject: c\r\n d\r\n",
        b"From: demo@example.com\r\n",
        b"junk\r\n",
        b"\r\n",
        b" \r\n",
    ]
)


@given(cuts(st.lists(fields, max_size=12).map(b"".join)))
def test_pieces_make_no_difference(octets: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = octets
    one, other = fill([whole]), fill(pieces)
    assert one.refusal == other.refusal
    if one.refusal is None:
        assert one.header == other.header
        assert body_of(one) == body_of(other)


def padded(octets: int) -> bytes:
    """A header block of so many octets, its empty line included."""
    return b"X: " + b"y" * (octets - 7) + b"\r\n\r\n"


@pytest.mark.parametrize("cut", [1, MAX_HEADER - 4, MAX_HEADER - 3, MAX_HEADER - 2, MAX_HEADER - 1, MAX_HEADER])
def test_the_bound_of_the_header(cut: int) -> None:
    fits, too_long = padded(MAX_HEADER), padded(MAX_HEADER + 1)
    assert fill([fits[:cut], fits[cut:] + b"body"]).refusal is None
    for pieces in ([too_long[:cut], too_long[cut:]], [too_long[:cut], too_long[cut:] + b"body"], [too_long + b"body"]):
        assert refused(pieces).text.endswith("longer than 256 KiB")


@pytest.mark.parametrize("start", [b"Hello\r\n", b"a" * 1000 + b" ", b"From x\r\nHello\r\n"])
def test_a_long_text_without_header_or_empty_line_is_kept_whole(start: bytes) -> None:
    text = start + b"word " * (MAX_HEADER // 2)
    bodies = FakeBodies()
    draft = fill([text[i : i + 10_000] for i in range(0, len(text), 10_000)], 10_000_000, bodies)
    assert draft.refusal is None
    run(draft.stored())
    assert bodies.files["ID"] == text.removeprefix(b"From x\r\n")


def test_single_octets_of_a_first_line_are_looked_at_once() -> None:
    class Counting(bytearray):
        looked = 0

        def find(self, what: Any, start: Any = 0, end: Any = None) -> int:
            Counting.looked += len(self) - int(start)
            return super().find(what, start)

    draft = make()
    draft._block = Counting()
    for _ in range(20_000):
        run(draft.take(b"a"))
    assert Counting.looked < 10 * 20_000


def test_a_header_without_end() -> None:
    assert refused([b"X: y\r\n" * 1000] * 50).text.endswith("longer than 256 KiB")


class Drain(FakeBodies):
    """Takes any body and keeps none."""

    async def create(self, name: str) -> "Drain":
        return self

    async def write(self, data: bytes) -> None: ...

    async def finish(self, rest: bytes = b"") -> Spooled:
        return Spooled("ID", 0)

    async def discard(self) -> None: ...


@pytest.mark.parametrize(
    ("first", "limit"),
    [
        (b"Subject: x\r\n\r\n", 100_000_000),
        (b"Subject: x", 100_000_000),
        (b"Subject: x\r\n\r\n", 1000),
        (b"junk\r\n\r\n", 100_000_000),
    ],
    ids=["a body", "a header", "too large", "refused"],
)
def test_memory_does_not_grow_with_the_message(first: bytes, limit: int) -> None:
    """Under 1 MiB a session, whatever comes."""
    draft = make(limit, Drain())
    piece = b"0123456789abcdef" * 4096
    run(draft.take(first))
    tracemalloc.start()
    try:
        for _ in range(200):
            run(draft.take(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_large_body_is_spooled_whole() -> None:
    bodies = FakeBodies()
    body = bytes(range(256)) * 2000
    pieces = [MESSAGE[: len(HEADER)] + b"\r\n", *(body[n : n + 9999] for n in range(0, len(body), 9999))]
    draft = fill(pieces, bodies=bodies)
    assert run(draft.stored()) == Spooled("ID", len(body))
    assert bodies.files == {"ID": body}
    run(draft.discard())
    assert bodies.files == {"ID": body}, "a finished body may have a row by now"


def test_discarding_leaves_nothing() -> None:
    bodies = FakeBodies()
    draft = make(bodies=bodies)
    run(draft.take(b"\r\n" + b"x" * (INLINE + 1)))
    assert bodies.growing
    run(draft.discard())
    assert not bodies.growing


# Refusals


def test_too_large_names_limit_and_size() -> None:
    assert refused([b"\r\n", b"x" * 99], limit=100) == reply.too_large(100, 101)
    assert fill([b"\r\n", b"x" * 98], limit=100).refusal is None


def test_too_large_is_known_before_the_end() -> None:
    """A BDAT chunk that is not the last one is answered with it."""
    draft = make(100)
    run(draft.take(b"\r\n" + b"x" * 99))
    assert draft.refusal == reply.too_large(100)


@pytest.mark.parametrize(
    ("flaw", "word"), [("bare_cr", "carriage return"), ("nul", "NUL"), ("bare_lf", "bare LF")], ids=lambda value: str(value)
)
def test_flaws(flaw: str, word: str) -> None:
    bodies = FakeBodies()
    draft = make(bodies=bodies)
    run(draft.take(MESSAGE + b"x" * INLINE))
    run(draft.finish(seen(len(MESSAGE) + INLINE, **{flaw: True}), bare_newlines=False))
    assert not bodies.growing
    assert draft.refusal is not None
    assert word in draft.refusal.text


def test_a_bare_lf_where_it_is_welcome() -> None:
    draft = make()
    run(draft.take(MESSAGE))
    run(draft.finish(seen(len(MESSAGE), bare_lf=True, eight_bit=True), bare_newlines=True))
    assert draft.refusal is None


@pytest.mark.parametrize("trouble", [StorageFull("no space left"), Unavailable("I/O error")], ids=repr)
@pytest.mark.parametrize("when", ["created", "written"])
def test_a_store_that_fails(trouble: Unavailable, when: str) -> None:
    """It is remembered, and said at the end: also when it works again meanwhile. The operator hears of it at once."""
    bodies = FakeBodies()
    draft = make(10_000_000, bodies)
    run(draft.take(b"\r\n"))
    if when == "written":
        run(draft.take(b"x" * (INLINE + 1)))
        assert bodies.growing
    bodies.fail_with = trouble
    with capture_logs() as logs:
        run(draft.take(b"x" * 300_000))
    assert [line["reason"] for line in logs] == [str(trouble)]
    bodies.fail_with = None
    run(draft.take(b"x" * 300_000))
    run(draft.finish(seen(600_002), bare_newlines=True))
    assert draft.refusal == (reply.STORE_FULL if isinstance(trouble, StorageFull) else reply.SERVICE_ERROR)
    assert not bodies.growing


def test_a_bug_leaves_no_hole() -> None:
    """An error nobody expected goes up to be logged; what is left of the message is refused."""
    bodies = FakeBodies()
    draft = make(10_000_000, bodies)
    run(draft.take(b"\r\n"))
    bodies.fail_with = RuntimeError("bug")  # type: ignore[assignment]
    failure_of(Deferred.fromCoroutine(draft.take(b"x" * 300_000)), RuntimeError)
    bodies.fail_with = None
    run(draft.take(b"the rest"))
    run(draft.finish(seen(300_010), bare_newlines=True))
    assert draft.refusal == reply.SERVICE_ERROR


def test_a_bug_in_the_header_loses_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(header: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr("gateway.message.prepare.check", broken)
    draft = make()
    failure_of(Deferred.fromCoroutine(draft.take(MESSAGE)), RuntimeError)
    run(draft.take(b"more"))
    run(draft.finish(seen(len(MESSAGE) + 4), bare_newlines=True))
    assert draft.refusal == reply.SERVICE_ERROR


def test_placements() -> None:
    draft = fill([b"To: a@example.net\r\nCc: b@example.net\r\nBcc: c@example.net\r\n\r\n"])
    recipients = [address.parse(f"{name}@example.net") for name in "cbad"]
    assert draft.placements(recipients) == ["bcc", "cc", "to", "bcc"]


@pytest.mark.parametrize("octets", [0, 1, 2047, 2048, 4095, MAX_HASHED_ALONE, MAX_HASHED_ALONE + 1])
def test_the_digest_is_of_every_octet_whatever_the_pieces(octets: int) -> None:
    body = bytes(n % 251 for n in range(octets))
    assert fill([b"\r\n", body, b"x"]).digest == hashlib.sha256(b"\r\n" + body + b"x").digest()
