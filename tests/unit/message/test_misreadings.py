"""From values that careless programs read: they find the authors that we check, or the message is refused."""

import re
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.address import unquoted
from gateway.message.header import BadContent
from gateway.message.mailboxes import mailboxes

ACCEPTED = [
    "=?utf-8?q?J=C3=A4ne_Doe?= <a@x.example>",
    "=?utf-8?q?J=C3=A4ne=2C_Doe?= <a@x.example>",
    "=?utf-8?b?SsOkbmUgIkpheSIgRG9lIChYKQ==?= <a@x.example>",
    "=?utf-8?b?SsOkbmU?= <a@x.example>",  # without its padding
    "=?utf-8*de?q?J=C3=A4ne?= <a@x.example>",
    "=?iso-8859-1?q?Jane=92s?= <a@x.example>",  # windows-1252 under a wrong name: common
    "=?iso-2022-jp?b?GyRCOzNFRBsoQg==?= <a@x.example>",
    "=?x-unknown?q?J=E4ne?= <a@x.example>",
    "=?utf-8?q?K=C3=A4the_=40_Work?= <a@x.example>",
    "=?utf-8?q?K=C3=A4the_=40_Work_Inc=2E?= <a@x.example>",
    "=?utf-8?q?a=40x=2Eexample?= <a@x.example>",
    "=?utf-8?q?a=40?=\r\n =?utf-8?q?x=2Eexample?= <a@x.example>",
    "=?utf-8?q?a=40x=2Eexample_=3Ca=40x=2Eexample=3E?= <a@x.example>",
    "=?utf-8?q?J=C3=A4ne?= <a@x.example>, =?utf-8?q?B=C3=B6b?= <b@x.example>",
    "=?utf-8?q?J=C3=A4ne?= <@r.example:a@x.example>",
    'b@y.example <b@y.example>, "c@z.example" <c@x.example>',
]


@pytest.mark.parametrize("value", ACCEPTED)
def test_names_that_mislead_nobody(value: str) -> None:
    assert mailboxes(value.encode())


REFUSED = [
    ("=?utf-8?q?=3Cb=40y=2Eexample=3E?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?utf-7?q?+ADw-b+AEA-y.example+AD4-?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?utf-7*en?q?+ADw-b+AEA-y.example+AD4-?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?cp037?q?=4C=82=7C=A8=4B=85=A7?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?x-unknown?q?=3Cb=40y=2Eexample=3E?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?utf-8*en?b?PGJAeS5leGFtcGxlPg==?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?utf-8?q?=3Cb=40?= =?utf-8?q?y=2Eexample=3E?= <a@x.example>", 'another address in "<" and ">"'),
    ("=?utf-8?q?b=40y=2Eexample=2C?= <a@x.example>", "another address beside an encoded word"),
    ("=?utf-8?q?b=40?=  =?utf-8?q?y=2Eexample?= <a@x.example>", "another address beside an encoded word"),
    ("=?utf-8?q?b_=40_=28c=29_y=2E_example?= <a@x.example>", "another address beside an encoded word"),
    ("=?utf-8?q?ba=40x=2Eexample?= <a@x.example>", "another address beside an encoded word"),
    ("=?utf-8?q?a=40x=2Eexample=2Eorg?= <a@x.example>", "another address beside an encoded word"),
    ('=?utf-8?q?=22?= "b@y.example" <a@x.example>', "another address beside an encoded word"),
    ("=?utf-8?q?=29?= (b@y.example) <a@x.example>", "another address beside an encoded word"),
    ('"=?utf-8?q?=22_b=40y=2Eexample_=22?=" <a@x.example>', "another address beside an encoded word"),
    ("=?utf-8?q?J=0D=0ABcc=3A_b?= <a@x.example>", "a line break or NUL in an encoded word"),
    ("=?utf-8?q?J=00?= <a@x.example>", "a line break or NUL in an encoded word"),
    ("=?utf-8?b?SsOkb?= <a@x.example>", "a damaged encoded word"),
    ("=?utf-8?q?J\u00e4ne?= <a@x.example>", "a damaged encoded word"),
    (f"=?punycode?q?{'a' * 1001}?= <a@x.example>", "a damaged encoded word"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_names_that_mislead_somebody(value: str, reason: str) -> None:
    with pytest.raises(BadContent) as refused:
        mailboxes(value.encode())
    assert refused.value.reason == reason


_PIECES = st.sampled_from(
    [
        *'<>,"\\() @.é', "Jane", "\r\n ", "a@x.example", "<a@x.example>", "b@y.example", "<b@y.example>", '"<b@y.example>"',
        "(<b@y.example>)", "<@r.example:b@y.example>", "=?utf-8?q?=3Cb=40y.example=3E?=", "=?utf-8?q?b=40y.example=2C?=",
        "=?utf-8?q?=22?=", "=?utf-8?q?=28?=", "=?utf-8?q?=29?=", "=?utf-8?q?b=40?=", "=?utf-8?q?y.example?=",
        "=?utf-8?b?QEA=?=", "=?utf-8?q?=5C?=", "=?utf-8?q?_=40_?=", '"b@y.example"', "(b@y.example)", "=?utf-8?q?=3C?=",
    ]
)  # fmt: skip
_SOME = st.lists(_PIECES, max_size=5).map("".join)
_VALUES = st.builds("{}{}{}".format, _SOME, st.sampled_from(["<a@x.example>", "a@x.example"]), _SOME)


def _plain(text: str) -> str:
    """As an address compares: without quotes, route and white space."""
    text = re.sub(r"^@[^:]*:", "", text.strip())
    local, at, domain = text.rpartition("@")
    return unquoted(local) + at + domain


@settings(max_examples=500)
@given(_VALUES)
@example('=?utf-8?q?=22?= "b@y.example" <a@x.example>')
@example("a@x.example (<b@y.example>)")
@example("=?utf-8?q?b=40?= =?utf-8?q?y.example?=, <a@x.example>")
def test_no_careless_reader_finds_another_author(value: str) -> None:
    """parseaddr, the first and the last "<...>", each of them also after encoded words have been decoded."""
    try:
        authors = {_plain(str(author)) for author in mailboxes(value.encode())}
    except BadContent:
        return
    shown = re.sub(r"\r\n(?=[ \t])", "", value)
    found = [parseaddr(shown)[1], *re.findall("<([^<>]*)>", shown)]
    try:
        decoded = str(make_header(decode_header(shown)))
    except UnicodeError:  # it gives up at letters beside an encoded word
        decoded = ""
    found += re.findall("<([^<>]*)>", decoded)
    # After an open quote it gives all the rest back, brackets and all: that is nobody's address.
    found += [text for text in [parseaddr(decoded)[1]] if "<" not in text]
    assert {_plain(text) for text in found if re.search(r"@.*\.[^.]", text)} <= authors
