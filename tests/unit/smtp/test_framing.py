"""Lines, dots and chunks: where they end, whatever pieces they come in, and how little is kept of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.framing import (
    MAX_DROPPED,
    BareLineEnd,
    BodyCounter,
    ChunkJoiner,
    ChunkReader,
    DotReader,
    LineReader,
    LineTooLong,
)
from gateway.smtp.stuffing import Stuffer
from tests.unit.smtp.pieces import bodies, cuts, every_cut

LIMIT = 20


def read_lines(pieces: list[bytes], limit: int = LIMIT) -> list[str]:
    """What comes out of a LineReader: each line, "too long HEAD", "bare" (and then nothing more)."""
    buffer = bytearray()
    reader = LineReader(buffer, limit)
    found: list[str] = []
    for piece in pieces:
        buffer += piece
        while True:
            try:
                line = reader.take()
            except LineTooLong as too_long:
                found.append(f"too long {too_long.head.decode('latin-1')}")
                continue
            except BareLineEnd:
                return [*found, "bare"]
            if line is None:
                break
            found.append(line.decode("latin-1"))
        assert len(buffer) <= limit
    return found


LINES = {
    b"": [],
    b"NOOP": [],
    b"NOOP\r": [],
    b"NOOP\r\n": ["NOOP"],
    b"\r\n": [""],
    b"A\r\nB\r\nC": ["A", "B"],
    b"A\n": ["bare"],
    b"A\r\nB\nC\r\n": ["A", "bare"],
    b"A\rB": ["bare"],
    b"A\r\r\n": ["bare"],
    b"\n\r\n": ["bare"],
    b"A\r\n\0": ["A", "bare"],
    b"A\0B\r\n": ["bare"],
    b"012345678901234567\r\n": ["012345678901234567"],
    b"0123456789012345678\r\n": ["too long 01234567"],
    b"bdat 89" + b"x" * 100 + b"\r\nNOOP\r\n": ["too long bdat 89x", "NOOP"],
    b"x" * 100 + b"\n": ["bare"],
    b"x" * 100 + b"\ry\r\n": ["bare"],
    b"x" * 100 + b"\0": ["bare"],
    b"x" * 19 + b"\r\n" + b"y" * 30 + b"\r\nA\r\n": ["too long xxxxxxxx", "too long yyyyyyyy", "A"],
    b"\xff\xfe\r\n": ["\xff\xfe"],
}


@pytest.mark.parametrize(("octets", "lines"), LINES.items(), ids=map(repr, LINES))
def test_lines(octets: bytes, lines: list[str]) -> None:
    assert read_lines([octets]) == lines
    for pieces in every_cut(octets):
        assert read_lines(pieces) == lines, pieces


@given(cuts(st.lists(st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b"word", b"x" * 15]), max_size=20).map(b"".join)))
def test_lines_in_any_pieces(octets: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = octets
    assert read_lines(pieces) == read_lines([whole])


def test_an_endless_line_is_not_kept_and_ends() -> None:
    buffer = bytearray()
    reader = LineReader(buffer, LIMIT)
    for _ in range(MAX_DROPPED // 1000):
        buffer += b"x" * 1000
        assert reader.take() is None
        assert len(buffer) <= LIMIT
    buffer += b"x" * 1000
    with pytest.raises(LineTooLong) as endless:
        reader.take()
    assert endless.value.endless


def read_data(pieces: list[bytes]) -> tuple[bytes, bytes, BodyCounter, bool]:
    """What a DotReader hands on, what it leaves, what it counted, and whether it met the end."""
    buffer = bytearray()
    counter = BodyCounter()
    reader = DotReader(buffer, counter)
    taken = b""
    for piece in pieces:
        buffer += piece
        if not reader.done:
            block = reader.take()
            assert not block.endswith(b"\r") or counter.bare_cr, "a CR came without its LF"
            taken += block
            assert reader.done or len(buffer) <= 4, "it keeps more than can begin the end"
    return taken, bytes(buffer), counter, reader.done


DATA = {
    b".\r\n": b"",
    b"\r\n.\r\n": b"\r\n",
    b"a\r\n.\r\n": b"a\r\n",
    b"..\r\n.\r\n": b".\r\n",
    b"...\r\n.\r\n": b"..\r\n",
    b".a\r\n.\r\n": b"a\r\n",
    b"a.\r\n.\r\n": b"a.\r\n",
    b"a\r\n..\r\nb\r\n.\r\n": b"a\r\n.\r\nb\r\n",
    b"\r\n..\r\n..\r\n.\r\n": b"\r\n.\r\n.\r\n",
    # a bare LF is CRLF from here on, and never part of the end; neither is a dot behind it stuffed
    b"a\nb\r\n.\r\n": b"a\r\nb\r\n",
    b"\n.\n\r\n.\r\n": b"\r\n.\r\n\r\n",
    b"a\n.\r\nb\r\n.\r\n": b"a\r\n.\r\nb\r\n",
    b"a\n..b\r\n.\r\n": b"a\r\n..b\r\n",
    b"a\r\n.\nb\r\n.\r\n": b"a\r\n\r\nb\r\n",
    # a bare CR is none of our business here: it is counted, and refuses the message
    b"a\r.\r\r\n.\r\n": b"a\r.\r\r\n",
    b"\r\n.\r\r\n.\r\n": b"\r\n\r\r\n",
}


@pytest.mark.parametrize(("octets", "message"), DATA.items(), ids=map(repr, DATA))
def test_data(octets: bytes, message: bytes) -> None:
    for pieces in [[octets + b"NOOP\r\n"], *every_cut(octets + b"NOOP\r\n")]:
        taken, left, counter, done = read_data(pieces)
        assert (taken, left, done) == (message, b"NOOP\r\n", True), pieces
        assert counter.octets == len(message)


@given(cuts(bodies))
def test_data_in_any_pieces(octets: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = octets
    one, other = read_data([whole + b"\r\n.\r\n"]), read_data([*pieces, b"\r\n.\r\n"])
    assert (one[0], one[1], vars(one[2])) == (other[0], other[1], vars(other[2]))
    assert one[3]
    assert other[3]


@given(bodies)
def test_only_crlf_dot_crlf_ends_data(octets: bytes) -> None:
    """An oracle in one line of regular expression."""
    taken, left, counter, done = read_data([octets])
    end = re.search(rb"(?:\A|\r\n)\.\r\n", octets)
    assert done == (end is not None)
    if end is not None:
        assert left == octets[end.end() :]
        assert counter.octets == len(taken)


@given(bodies, st.integers(1, 9))
def test_what_is_stuffed_comes_out_as_it_was(octets: bytes, size: int) -> None:
    message = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    stuffer = Stuffer()
    sent = b"".join(stuffer.stuff(message[n : n + size]) for n in range(0, len(message), size)) + stuffer.end()
    taken, left, counter, done = read_data([sent])
    assert (taken, left, done) == (message, b"", True)
    assert not counter.bare_lf
    assert not counter.bare_cr


SEEN = {
    b"plain\r\n": set(),
    b"a\rb": {"bare_cr"},
    b"\r\r\n": {"bare_cr"},
    b"a\nb": {"bare_lf"},
    b"\n": {"bare_lf"},
    b"\n\r": {"bare_cr", "bare_lf"},
    b"a\0": {"nul"},
    b"\x80": {"eight_bit"},
    "ü\r\n".encode(): {"eight_bit"},
}


@pytest.mark.parametrize(("block", "seen"), SEEN.items(), ids=map(repr, SEEN))
def test_what_the_counter_remembers(block: bytes, seen: set[str]) -> None:
    counter = BodyCounter()
    counter.clean(block)
    counter.clean(b"and an innocent one\r\n")
    assert {name for name in ("bare_cr", "bare_lf", "nul", "eight_bit") if getattr(counter, name)} == seen


@given(bodies | st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"\x0b", b"\x85", b"abc"])).map(b"".join))
def test_the_counter_against_counting(block: bytes) -> None:
    counter = BodyCounter()
    cleaned = counter.clean(block)
    pairs = block.count(b"\r\n")
    assert counter.bare_cr == (block.count(b"\r") > pairs)
    assert counter.bare_lf == (block.count(b"\n") > pairs)
    assert counter.nul == (b"\0" in block)
    assert counter.eight_bit == any(octet > 127 for octet in block)
    assert cleaned == re.sub(rb"\r?\n", b"\r\n", block)
    assert counter.octets == len(cleaned)


@given(cuts(bodies))
def test_data_against_the_whole_text(octets: tuple[bytes, list[bytes]]) -> None:
    """What is handed on of a message that comes in pieces, some with dots and some without, is RFC 5321's section 4.5.2."""
    whole, pieces = octets
    message = re.split(rb"(?:\A|\r\n)\.\r\n", whole + b"\r\n.\r\n", maxsplit=1)[0]
    ended = re.search(rb"(?:\A|\r\n)\.\r\n", whole + b"\r\n.\r\n")
    assert ended is not None
    message += b"\r\n" if ended[0].startswith(b"\r\n") else b""
    taken, _, _, done = read_data([*pieces, b"\r\n.\r\n"])
    assert done
    assert taken == re.sub(rb"(?<!\r)\n", b"\r\n", re.sub(rb"(\A|\r\n)\.", rb"\1", message))


def join(chunks: list[bytes]) -> tuple[bytes, BodyCounter]:
    counter = BodyCounter()
    joiner = ChunkJoiner(counter)
    taken = b"".join(joiner.take(chunk) for chunk in chunks) + joiner.finish()
    assert joiner.finish() == b"", "the end is handed on once"
    assert counter.octets == len(taken)
    return taken, counter


CHUNKS: list[tuple[list[bytes], bytes]] = [
    ([], b""),
    ([b""], b""),
    ([b"a"], b"a\r\n"),
    ([b"a\r\n"], b"a\r\n"),
    ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n"),
    ([b"a\r", b"", b"\n"], b"a\r\n"),
    ([b"a\n"], b"a\r\n"),
    ([b"\r\n.\r\n"], b"\r\n.\r\n"),
    ([b"a\r\n", b""], b"a\r\n"),
]


@pytest.mark.parametrize(("chunks", "message"), CHUNKS, ids=repr)
def test_chunks_make_one_message(chunks: list[bytes], message: bytes) -> None:
    taken, counter = join(chunks)
    assert taken == message
    assert not counter.bare_cr


@pytest.mark.parametrize("chunks", [[b"a\r"], [b"a\r", b"b\r\n"], [b"\r", b"\r\n"]], ids=repr)
def test_a_cr_whose_lf_never_comes(chunks: list[bytes]) -> None:
    assert join(chunks)[1].bare_cr


@given(cuts(bodies))
def test_chunks_of_any_sizes(octets: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = octets
    one, other = join([whole]), join(pieces)
    assert one[0] == other[0]
    assert vars(one[1]) == vars(other[1])


def test_a_chunk_reader_takes_what_was_announced() -> None:
    buffer = bytearray(b"abc")
    reader = ChunkReader(buffer, 5)
    assert (reader.take(), reader.done) == (b"abc", False)
    assert (reader.take(), reader.done) == (b"", False)
    buffer += b"deNOOP\r\n"
    assert (reader.take(), reader.done) == (b"de", True)
    assert (reader.take(), bytes(buffer)) == (b"", b"NOOP\r\n")
