"""Header blocks: split into fields, edited, and put together again byte for byte."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message.header import MAX_FIELDS, BadContent, Header, before_first_line, find_end, has_blind_field, unfolded

_NAMES = st.sampled_from([b"From", b"To", b"Bcc", b"bCC", b"Resent-Bcc", b"X-Bcc", b"Bccs", b"subject", b"!#$%", b"a"])
_GAPS = st.sampled_from([b"", b"", b" ", b"\t ", b" " * 20])
_TEXT = st.binary(max_size=30).map(lambda octets: octets.replace(b"\r", b":").replace(b"\n", b" "))
_BODIES = st.lists(_TEXT, min_size=1, max_size=4).map(b"\r\n ".join)


def _raw(name: bytes, gap: bytes, body: bytes) -> bytes:
    return name + gap + b":" + body + b"\r\n"


_FIELDS = st.lists(st.tuples(_NAMES, st.builds(_raw, _NAMES, _GAPS, _BODIES)).map(lambda pair: pair[1]), max_size=8)


@given(_FIELDS)
def test_parse_then_encode_is_identity_and_finds_each_field(raws: list[bytes]) -> None:
    header = Header.parse(b"".join(raws))
    assert [raw for raw, _ in header.fields] == raws
    assert header.block == b"".join(raws)


@given(_FIELDS)
def test_dropping_bcc_leaves_every_other_byte(raws: list[bytes]) -> None:
    left = [raw for raw in raws if raw.split(b":")[0].strip().lower() not in (b"bcc", b"resent-bcc")]
    assert Header.parse(b"".join(raws)).without(b"bcc", b"resent-bcc") == b"".join(left)


@given(st.binary(max_size=200))
def test_octets_that_are_read_are_written_again(block: bytes) -> None:
    with suppress(BadContent):
        assert Header.parse(block).block in (block, block + b"\r\n")


@pytest.mark.parametrize(
    "block",
    [
        b"\r\n",
        b" continued without a field\r\n",
        b"Hello,\r\n",
        b": no name\r\n",
        b"Na me: x\r\n",
        b"N\xc3\xa4me: x\r\n",
        b"From: a@x.example\r\n\r\nTo: b@x.example\r\n",
        b"From: a@x.example\r\nwhat is this\r\nTo: b@x.example\r\n",
        b"a" * 1000 + b"\r\n",
    ],
)
def test_a_line_that_is_no_field_refuses_the_message(block: bytes) -> None:
    with pytest.raises(BadContent, match="a header line without a field name"):
        Header.parse(block)


@pytest.mark.parametrize(
    ("line", "before"),
    [
        (b"Subject: x\r\n", b""),
        (b"Subject :x\r\n", b""),
        (b"From : a@x.example\r\n", b""),
        (b"From: a@x.example\r\n", b""),
        (b"\r\n", b""),
        (b"", b""),
        (b"From a@x.example Mon Jan  1 10:00:00 2024\r\n", b"X-Mailbox-Line: "),
        (b">From a@x.example\r\n", b"X-Mailbox-Line: "),
        (b">>From a@x.example\r\n", b"X-Mailbox-Line: "),
        (b"From\r\n", b"\r\n"),
        (b"Hello!\r\n", b"\r\n"),
        (b"It says: hello\r\n", b"\r\n"),
        (b" Subject: x\r\n", b"\r\n"),
        (b" \r\n", b"\r\n"),
        (b": x\r\n", b"\r\n"),
        (b"S\xc3\xbcbject: x\r\n", b"\r\n"),
    ],
)
def test_what_stands_before_the_first_line(line: bytes, before: bytes) -> None:
    assert before_first_line(line, mailbox_lines=True) == before


def test_a_mailbox_line_too_many_ends_the_header() -> None:
    assert before_first_line(b"From a@x.example\r\n", mailbox_lines=False) == b"\r\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"Hello\r\nBcc: a@x.example\r\n", True),
        (b"Hello\r\nbcc : a@x.example\r\n", True),
        (b"Bcc\xc3\xbc: a@x.example\r\n", True),
        (b"Hello\r\nResent-Bcc:\r\n\r\n", True),
        (b"Hello\r\n\r\nBcc: a@x.example\r\n", False),
        (b"Hello Bcc: a@x.example\r\n", False),
    ],
)
def test_a_blind_field_in_a_text_without_header(text: bytes, found: bool) -> None:
    assert has_blind_field(text) is found


@pytest.mark.parametrize(
    ("block", "name", "value"),
    [
        (b"Bcc : a\r\n", b"bcc", b"a"),
        (b"BCC\t :a\r\n", b"bcc", b"a"),
        (b"Subject:\r\n", b"subject", b""),
        (b"Subject: a\r\n b\r\n\tc \r\n", b"subject", b"a b\tc"),
        (b"Subject: a\r\n \r\n b\r\n", b"subject", b"a  b"),
        (b"Subject: a: b\r\n", b"subject", b"a: b"),
        (b"Subject: cut off", b"subject", b"cut off"),
    ],
)
def test_values(block: bytes, name: bytes, value: bytes) -> None:
    (found,) = Header.parse(block).all(name)
    assert unfolded(found) == value


def test_all_keeps_order_and_does_not_match_parts_of_names() -> None:
    header = Header.parse(b"To: 1\r\nX-To: 2\r\ntO: 3\r\nTo-X: 4\r\n")
    assert [unfolded(found) for found in header.all(b"to")] == [b"1", b"3"]


def test_a_message_without_fields() -> None:
    header = Header.parse(b"")
    assert header.without(b"bcc") == b""
    assert not header.all(b"bcc")


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", -1),
        (b"\r\n", 2),
        (b"\r\nbody\r\n\r\n", 2),
        (b"A: b\r\n\r\nbody\r\n\r\n", 8),
        (b"A: b\r\n c\r\n \r\n\r\nx", 15),
        (b"A: b\r\n", -1),
        (b"A: b\r\n\r", -1),
        (b"A: b\n\nx", -1),
    ],
)
def test_find_end_is_the_same_at_every_split(data: bytes, end: int) -> None:
    assert find_end(data) == end
    for step in range(1, len(data) + 1):
        seen, found = 0, -1
        while found < 0 and seen < len(data):
            found = find_end(data[: seen + step], seen)
            seen += step
        assert found == end


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"A: b", b" "]), max_size=10).map(b"".join), st.data())
def test_find_end_in_a_growing_buffer(data: bytes, draws: st.DataObject) -> None:
    cut = draws.draw(st.integers(0, len(data)))
    first = find_end(data[:cut])
    assert (first if first >= 0 else find_end(data, cut)) == find_end(data)


def test_fields_are_counted() -> None:
    assert len(Header.parse(b"a:\r\n" * MAX_FIELDS).fields) == MAX_FIELDS
    with pytest.raises(BadContent):
        Header.parse(b"a:\r\n" * (MAX_FIELDS + 1))
