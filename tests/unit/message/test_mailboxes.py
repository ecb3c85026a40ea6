"""Address lists: what is read, what is refused, and never another address than Python's own parser sees."""

import time
from contextlib import suppress
from email import policy
from email.headerregistry import AddressHeader
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.address import unquoted
from gateway.message.header import BadContent
from gateway.message.mailboxes import MAX_INTERNATIONAL, mailboxes, named

_READ = [
    ("a@x.example", ["a@x.example"]),
    ("<a@x.example>", ["a@x.example"]),
    ("< a@x.example >", ["a@x.example"]),
    ("Jane Doe <a@x.example>", ["a@x.example"]),
    ("Jane<a@x.example>", ["a@x.example"]),
    ("J. R. Doe <a@x.example>", ["a@x.example"]),
    ('"Doe, Jane" <a@x.example>', ["a@x.example"]),
    ('"b@y.example" <a@x.example>', ["a@x.example"]),
    ('"<a@x.example>," <a@x.example>', ["a@x.example"]),
    ('"I <3 you" <a@x.example>', ["a@x.example"]),
    ('"a \\" b" <a@x.example>', ["a@x.example"]),
    ("Jäne Döe <a@x.example>", ["a@x.example"]),
    ("=?utf-8?q?J=C3=A4ne=2C_Doe?= <a@x.example>", ["a@x.example"]),
    ('"=?UTF-8?B?SsOkbmU=?=" <a@x.example>', ["a@x.example"]),
    ("a@x.example <a@x.example>", ["a@x.example"]),
    ("a@x.example (Jane Doe)", ["a@x.example"]),
    ("a@x.example (Jane (of x) \\) Doe)", ["a@x.example"]),
    ("(first) Jane (second) Doe <a@x.example> (third)", ["a@x.example"]),
    ("(b@y.example,) a@x.example", ["a@x.example"]),
    ("a@x.example,\r\n b@y.example", ["a@x.example", "b@y.example"]),
    ("Jane\r\n Doe\r\n\t<a@x.example>", ["a@x.example"]),
    (", a@x.example, ,b@y.example,,", ["a@x.example", "b@y.example"]),
    ('"a b"@x.example', ['"a b"@x.example']),
    ('"a@b"@x.example', ['"a@b"@x.example']),
    ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
    ("<a@[IPv6:2001:db8::1]>", ["a@[IPv6:2001:db8::1]"]),
    ("jäne@bücher.example", ["jäne@bücher.example"]),
    ("<@r.example,@s.example:a@x.example>", ["a@x.example"]),
    ("friends: a@x.example, Bob <b@y.example>;, c@z.example", ["a@x.example", "b@y.example", "c@z.example"]),
    ("undisclosed-recipients:;", []),
    ("", []),
]

_REFUSED = [
    "a",
    "@x.example",
    "a@",
    "<>",
    "Jane <>",
    "Jane a@x.example",
    "a@x.example b@y.example",
    "a@x.example <b@y.example>",
    "a@x. example <a@x.example>",
    "alice@example.org)bob@example.com",
    "a@x.example (open",
    "a@x.example " + "(" * 30 + ")" * 30,
    '"open <a@x.example>',
    '"open\\" <a@x.example>',
    "<a@x.example",
    "a@x.example>",
    "<<a@x.example>>",
    "<a@x.example> <b@y.example>",
    "<a@x.example> Jane",
    "<a@x.example, b@y.example>",
    "a @x.example",
    "a@ x.example",
    "a@x .example",
    "a@x.example.",
    "a..@b@x.example",
    "a(c)@x.example",
    "<a@x.example(c)>",
    "a@(b@y.example)x.example",
    "a\\@x.example",
    "a@x@y.example",
    "a@x.example; b@y.example",
    "g: a@x.example",
    "g: h: a@x.example;;",
    "g: a@x.example; b@y.example",
    ": a@x.example;",
    "<@r.example a@x.example>",
    "<@r.:a@x.example>",
    "<@r @s:a@x.example>",
    "<@r,:a@x.example>",
    ". <a@x.example>",
    "[x] <a@x.example>",
    "=?utf-8?q?a?=@x.example",
    '"=?utf-8?q?a" <a@x.example>, "b?=" <b@y.example>',
    "=?utf-8?q?<b@y.example>?= <a@x.example>",
    "=?utf-8?q?a, b?= <a@x.example>",
    "Jane\x1b <a@x.example>",
    "Jane\x85<a@x.example>",
    "Jane\u2028<a@x.example>",
    '"a\\\r\n b"@x.example',
    "a@x\u3002example",
    "a\u200b@x.example",
    "a@xn--g6h.example",
    '"<b@y.example>" <a@x.example>',
    '"<b@y.example" <a@x.example>',
    '"(<@r.example:b@y.example>" <a@x.example>',
    "(<b@y.example>) a@x.example",
    "a@x.example (< b@y.example >)",
    '"a <b@y.example>"@x.example',
]


@pytest.mark.parametrize(("value", "expected"), _READ)
def test_what_is_read(value: str, expected: list[str]) -> None:
    assert [str(found) for found in mailboxes(value.encode())] == expected
    assert len(named(value.encode())) == len(expected)


@pytest.mark.parametrize("value", _REFUSED)
def test_what_two_programs_could_read_in_two_ways_is_refused(value: str) -> None:
    with pytest.raises(BadContent):
        mailboxes(value.encode())


@pytest.mark.parametrize("value", [b"J\xe4ne <a@x.example>", b"Jane <a\xff@x.example>"])
def test_other_charsets_are_refused(value: bytes) -> None:
    with pytest.raises(BadContent, match="neither ASCII nor UTF-8"):
        mailboxes(value)


def test_groups_can_be_refused() -> None:
    with pytest.raises(BadContent, match="a group"):
        mailboxes(b"friends: a@x.example;", groups=False)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (b"A@X.Example, nonsense, <b@y.example", {"A@X.Example".lower()}),
        (b"a@x.example; b@y.example", {"a@x.example", "b@y.example"}),
        (b"c@z.example <b@y.example>, =?utf-8?q?D,_E?= <a@x.example>", {"b@y.example", "a@x.example"}),
        (b"J\xe4ne <a@x.example>, b\xff@y.example", {"a@x.example"}),
        (b"a@x.example, \x01 b@y.example, c@z.example", {"a@x.example", "c@z.example"}),
        (b"a\\@x.example, c@z.example", {"c@z.example"}),
        (b'a@x.example, "open, c@z.example', {"a@x.example"}),
        (b"a@x.example, (open, c@z.example", {"a@x.example"}),
        (b"<>, >, <, ", set()),
        (b'"\\a"@x.example', {"a@x.example"}),
        ("a@bücher.example".encode(), {"a@xn--bcher-kva.example"}),
        (b"=?utf-8?q?Doe,b@y.example,_Jane?= <a@x.example>", {"a@x.example"}),
        (b'=?utf-8?q?"?= <a@x.example>, "?=, b@y.example, "', set()),
        (b'=?a?q?x"?= <a@x.example>, b@y.example, " <c@z.example>', set()),
        (b"=?utf-8?q?b=40y.example?= <a@x.example>, c@z.example =?= <d@z.example>", {"a@x.example", "d@z.example"}),
    ],
)
def test_telling_recipients_apart_takes_what_it_can(value: bytes, keys: set[str]) -> None:
    assert named(value) == keys


_PIECES = st.sampled_from(
    [
        *'@@<><>,:;"\\().[] \té', "a", "b.c", "x.example", "(c)", "[192.0.2.1]", "bücher.example", '""', '"\\""', '"q r"',
        '"q@z.example"', "a@x.example", "<b@y.example>", "<@r.example:a@b.example>", "\r\n ", "\u3002",
        "=?utf-8?q?", "=?utf-8?q?J_D?=", "?=", "=?utf-8?b?YUBiLmV4?=",
    ]
)  # fmt: skip
_MIXED = st.lists(_PIECES, max_size=10).map("".join)
_GOOD = st.sampled_from([value for value, _ in _READ])


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A good value with one to four characters put in, taken out or exchanged."""
    text = draw(_GOOD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from([*'()<>@,:;"\\ .?=[]aé', ""])) + text[at + draw(st.integers(0, 1)) :]
    return text


def _oracle(text: str) -> set[tuple[str, str]] | None:
    """What Python's parser reads; None where it falls over its own feet, as it does at `"a" .<b@c>`."""
    try:
        header = cast(AddressHeader, policy.SMTP.header_factory("From", text.replace("\r\n ", " ").replace("\r\n\t", "\t")))
        return {(found.username, found.domain.lower()) for found in header.addresses}
    except (AttributeError, TypeError, IndexError):
        return None


@settings(max_examples=400, deadline=None)
@given(_MIXED | _damaged() | _GOOD)
@example("alice@example.org)bob@example.com")
@example("a@b.o rg <a@b.example>")
@example('<@r1,@r.:"a b"@x.example>')
def test_no_address_is_read_otherwise_than_python_reads_it(text: str) -> None:
    try:
        ours = {(unquoted(found.local), found.domain.lower()) for found in mailboxes(text.encode())}
    except BadContent:
        return
    theirs = _oracle(text)
    assert theirs is None or theirs == ours


@given(st.binary(max_size=60) | _MIXED.map(str.encode))
def test_what_the_strict_reading_finds_the_tolerant_one_finds_too(value: bytes) -> None:
    keys = named(value)
    try:
        found = mailboxes(value)
    except BadContent:
        return
    assert {mailbox.key for mailbox in found} == keys


_SIZE = 262_144
_HOSTILE = [
    b"(", b")", b"()", b"((((", b'"', b'"\\', b'""', b"\\", b"<", b">", b"<a@b>,", b"[a", b"a ", b"a,", b":", b";", b"g:;,",
    b"=?", b"?=", b"=?a?q?", b"=?a?q?x?=", b"=?a?q?,", b"=?a?b?====", b"a@", b"@", b"<@a:", b"\xff", b"\r\n ", b"\t", b"'",
    b".", b",", b'=?a?q?"', b"@ . ", b"(\r\n ", b"a\r\n\t@",
]  # fmt: skip


@pytest.mark.parametrize("piece", _HOSTILE)
@pytest.mark.parametrize(
    "frame", [b"%s", b'"%s" <a@x.example>', b'"<%s" <a@x.example>', b"=?utf-8?q?x?= %s <a@x.example>", b"=?utf-8?q?%s?="]
)
def test_a_hostile_value_as_large_as_a_header_is_read_in_linear_time(frame: bytes, piece: bytes) -> None:
    """A guard, not a measurement: of CPU time each takes 0.2 s, and what is quadratic half a minute or more."""
    value = frame % (piece * (_SIZE // len(piece)))
    began = time.thread_time()
    named(value)
    with suppress(BadContent):
        mailboxes(value)
    assert time.thread_time() - began < 10


def test_thousands_of_recipients_are_all_found() -> None:
    value = b", ".join(b'"User Number %d" <user%d@example.org>' % (n, n) for n in range(5000))
    assert len(named(value)) == 5000


def test_a_long_list_of_authors_is_refused() -> None:
    with pytest.raises(BadContent, match="too many"):
        mailboxes(b"a@x.example," * 1001)


@pytest.mark.parametrize(
    "value",
    [
        b' "ceo@example.com\r\n "<own@example.com>\r\n',
        b' "ceo@example.com"(\r\n )<own@example.com>\r\n',
        b' "ceo@example.com" (\r\n ")<own@example.com>\r\n',
        b' "x".<own@example.com>\r\n',
        b" =?utf-8?q?x?= .y <own@example.com>\r\n",
    ],
)
def test_what_other_programs_read_in_another_way_is_refused(value: bytes) -> None:
    with pytest.raises(BadContent):
        mailboxes(value)


def test_a_long_name_may_be_folded() -> None:
    assert [str(a) for a in mailboxes(b' "A very long\r\n name" <own@example.com>\r\n')] == ["own@example.com"]
    assert [str(a) for a in mailboxes(b" J. R. Smith\r\n <own@example.com>\r\n")] == ["own@example.com"]


@pytest.mark.parametrize("hidden", [False, True])
def test_international_addresses_are_bounded_in_all_values_together(hidden: bool) -> None:
    labels = [chr(0x4E00 + n) for n in range(200)]
    if hidden:
        labels = ["xn--" + label.encode("punycode").decode("ascii") for label in labels]
    texts = [f"a@{label}.example" for label in labels]
    many = ", ".join(texts).encode()
    assert len(named(many, b"a@x.example")) == MAX_INTERNATIONAL + 1
    assert len(named(*(text.encode() for text in texts))) == MAX_INTERNATIONAL
    with pytest.raises(BadContent, match="too many international"):
        mailboxes(many)
