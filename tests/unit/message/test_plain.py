"""The plain form of address lists: where it is read in one step, the readers of any form find the same."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.message import plain
from gateway.message.header import unfolded
from gateway.message.mailboxes import mailboxes_of_any_form, named_in_any_form

_NAMES = ["", "Jane ", "J_D-1\t", '"Doe, Jane" ', '"J. O\'Hara"', " "]
_SPECS = [
    "a@x.example",
    "A.b+c@X-y.Example",
    "a_b@localhost",
    "1@2",
    f"{'a' * 60}@x.y",
    f"{'a' * 50}@{'b' * 13}",
    "b@xn--x.example",
]
_ODD = [
    *'@<>,:;"\\().[]=?- \té\x00\x85', "\r\n", "\r\n ", "a..b@x", ".a@x", "a@-x", "a@x-", "a@x.", "a@x--y", "XN--A", "=?u?q?x?=",
    f"{'a' * 65}@x", "(c)", "g: ", ";", '""', "a@[192.0.2.1]", "<@r:a@x>", "\u2028",
]  # fmt: skip
_MEMBERS = st.builds("{}<{}>".format, st.sampled_from(_NAMES), st.sampled_from(_SPECS)) | st.sampled_from(_SPECS)
_PLAIN = st.lists(_MEMBERS, max_size=5).map(", ".join)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A plain list with one to three odd pieces put in or put in place of a character."""
    text = draw(_PLAIN)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(_ODD)) + text[at + draw(st.integers(0, 1)) :]
    return text


_VALUES = (_PLAIN | _damaged() | st.lists(st.sampled_from([*_ODD, *_NAMES, *_SPECS]), max_size=6).map("".join)).map(str.encode)


@settings(max_examples=1000, deadline=None)
@given(_VALUES)
@example(b" <a@x.example>\r\n")
@example(b"a@x.example>")
@example(b"<a@x.example")
@example(b"Jane a@x.example")
@example(b'"Jane" a@x.example')
@example(b"<a@x.example> Jane")
@example(b"a@b\xc3\xbccher.example")
def test_one_mailbox_is_read_as_the_reader_of_any_form_reads_it(value: bytes) -> None:
    if found := plain.mailbox(value):
        assert [str(each) for each in mailboxes_of_any_form(value, groups=False)] == [found]


@settings(max_examples=1000, deadline=None)
@given(_VALUES)
@example(b"a@x.example,")
@example(b"a@x.example b@y.example")
@example(b"<a@x.example>, b@y.example>")
@example(b"g: a@x.example;")
def test_a_list_names_whom_the_reader_of_any_form_finds(value: bytes) -> None:
    found = plain.keys(unfolded(value))
    assert found is None or found == named_in_any_form(value)


@pytest.mark.parametrize(
    "value",
    [
        b" <a@x.example>\r\n",
        b"a@x.example",
        b" Jane Doe <a@x.example>\r\n",
        b'"Doe, J. R." <a@x.example>',
        b"<a@x.example> \r\n",
    ],
)
def test_the_common_forms_are_plain(value: bytes) -> None:
    assert plain.mailbox(value) == "a@x.example"
    assert plain.keys(unfolded(value)) == {"a@x.example"}


def test_a_list_of_the_common_forms_is_plain() -> None:
    value = b'A@X.example, <b@x.example>,Jane <c@x.example> ,\t"Doe, J." <d@x.example>'
    assert plain.keys(value) == {"a@x.example", "b@x.example", "c@x.example", "d@x.example"}


def test_a_list_longer_than_the_readers_of_any_form_take_is_left_to_them() -> None:
    assert plain.keys(b"a@x," * 13_000) is None


def test_what_the_address_parser_limits_is_left_to_it() -> None:
    assert plain.mailbox(b"a" * 63 + b"@x.example") == ""
    assert plain.keys(b"a" * 63 + b"@x.example") is None
    assert plain.mailbox(b"a@xn--x.example") == ""
