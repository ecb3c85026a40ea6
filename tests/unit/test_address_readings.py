"""What is accepted as an address is that address and no other: for us in every place, and for Python's own parsers."""

import email.utils
from email import policy
from email.headerregistry import AddressHeader
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import address
from gateway.accounts.model import Account, LoginRow
from gateway.address import Address, AddressError, unquoted
from gateway.errors import Refused
from gateway.message.header import BadContent, Header
from gateway.message.prepare import senders
from gateway.smtp import grammar
from tests.unit.test_address import DIFFERENT, READ, REFUSED, SAME

# Addresses as the grammar makes them, so that most examples are accepted and every rule is reached.
_ATOM = st.text(st.sampled_from("abzAZ09!#$%&'*+-/=?^_`{|}~éßяا例"), min_size=1, max_size=6).filter(
    lambda atom: "=?" not in atom
)
_QTEXT = st.one_of(
    st.sampled_from([chr(code) for code in (*range(32, 34), *range(35, 92), *range(93, 127))]),
    st.sampled_from([f"\\{chr(code)}" for code in range(32, 127)]),
    st.sampled_from("éßя例"),
)
_DOTTED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", ".", ".."]),
    st.lists(st.just("") | _ATOM, max_size=3).flatmap(lambda some: _ATOM.map(lambda last: ".".join([*some, last]))),
    st.sampled_from(["", ".", ".."]),
)
_QUOTED = st.lists(_QTEXT, max_size=12).map("".join).filter(lambda text: "=?" not in text).map('"{}"'.format)
_LOCAL = st.one_of(_DOTTED, _QUOTED).filter(lambda local: len(local.encode()) <= 150)
_LABELS = [
    "a",
    "x1",
    "a-b",
    "r3--sn",
    "Example",
    "bücher",
    "straße",
    "BÜCHER",
    "xn--bcher-kva",
    "XN--Strae-oqa",
    "例子",
    "اختبار",
]
_DOMAIN = st.lists(st.sampled_from(_LABELS), min_size=1, max_size=4).map(".".join)
_LITERAL = st.one_of(st.ip_addresses(v=4).map("[{}]".format), st.ip_addresses(v=6).map("[IPv6:{}]".format))
_VALID = st.builds("{}@{}".format, _LOCAL, st.one_of(_DOMAIN, _LITERAL))

# Text that some program has read as another address than the one it is, or may.
_HOSTILE = [
    "a@b@c.example", '"a@b"@c.example', '"a\\"@b.example,\\""@c.example', '""a""@c.example', '"a"."b"@c.example',
    "a(b@c.example)@d.example", "(a@b.example)c@d.example", "a@(b)c.example", "a@c.example(b@d.example)",
    "=?utf-8?q?a=40b.example=3E?=@c.example", '"=?utf-8?q?a?="@c.example', "=?utf-8?b?YUBiLmV4?=a@c.example",
    "a\x00@c.example", "a@c.example\x00.d.example", "a@c.example\r\nBcc: b@d.example", "a@c.example\n", "a\x0b@c.example",
    "<@r.example:a@c.example>", "@r.example:a@c.example", "@r.example,@s.example:a@c.example", "g:a@c.example;", ":;@c.example",
    "a@c.example.", "a@.c.example", "a@c..example", "a%b.example@c.example", "b.example!a@c.example", "a@[192.0.2.1].c.example",
    "аnn@c.example", "a@аpple.example", "a\u202e@c.example", "a@\u202ec.example", "a\u200d@c.example", "a@c\u3002example",
    "a\uff20b.example@c.example", "a@c.example\uff0fd.example", "a\u2028@c.example", "a\u00a0@c.example", "a@c.example>b@d.ex",
    "a@c.example)b@d.example", "a\\@b.example@c.example", '"a\\', '"\\', "a@c.example;b@d.example", "a@c.example b@d.example",
]  # fmt: skip
_EDITS = [*'"\\@.<>(),:;[]%! \t\x00é\u200b\uff20', "\r\n ", "=?", "?=", ""]


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """A hostile or a good text with one to three characters put in, taken out or exchanged."""
    text = draw(st.sampled_from(_HOSTILE) | _VALID)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(_EDITS)) + text[at + draw(st.integers(0, 1)) :]
    return text


_ANY = st.one_of(_VALID, _mutated(), st.sampled_from(_HOSTILE), st.sampled_from([text for text, *_ in READ]))


def _parsed(text: str) -> Address | None:
    try:
        return address.parse(text)
    except AddressError:
        return None


@given(_VALID)
def test_whatever_the_grammar_makes_is_read(text: str) -> None:
    assert str(address.parse(text)) == text


@given(_ANY)
def test_it_prints_back_as_a_path_of_smtp(text: str) -> None:
    if (read := _parsed(text)) is None:
        return
    mail = grammar.mail(f"FROM:<{read}> SMTPUTF8 SIZE=10".encode())
    assert (mail.sender, mail.size) == (read, 10)
    rcpt = grammar.rcpt(f"TO:<{read}> NOTIFY=NEVER".encode(), True)
    assert (rcpt.recipient, rcpt.notify) == (read, "NEVER")
    assert grammar.rcpt(f"TO:<@r.example,@s.example:{read}>".encode(), True).recipient == read


def _pair(text: str) -> tuple[str, str]:
    local, _, domain = text.rpartition("@")
    return unquoted(local), domain


@given(_ANY)
@example('"a@b"@c.example')
def test_pythons_parsers_read_no_other_address(text: str) -> None:
    """Each of them as the only word of a From field; one that refuses it takes nobody for somebody else."""
    if (read := _parsed(text)) is None:
        return
    ours = (unquoted(read.local), read.domain)
    for value in (text, f"<{text}>", f'"A name" <{text}>'):
        _, simple = email.utils.parseaddr(value)
        assert simple == "" or _pair(simple) == ours, value
        try:
            header = cast(AddressHeader, policy.SMTP.header_factory("From", value))
        except (AttributeError, TypeError, IndexError):
            continue
        assert {(found.username, found.domain) for found in header.addresses if found.domain} <= {ours}, value


@given(_ANY)
def test_a_from_field_of_it_has_that_author_or_is_refused(text: str) -> None:
    if (read := _parsed(text)) is None:
        return
    try:
        ((_, author),) = senders(Header.parse(f"From: {text}\r\n".encode()))
    except BadContent:
        # Some take what stands between "<" and ">", even in quotes.
        assert "<" in text
    else:
        assert author == read


@given(
    st.text(st.sampled_from("aβßςüé例子\u0308\u0301\u200c\u0660\u0627\u05d0-1♥\uff20\u00ad\u3002Üz"), min_size=1, max_size=8)
)
@example("straße")
@example("bu\u0308cher")
@example("example\uff20")
def test_a_label_in_letters_and_as_an_a_label_is_taken_alike(label: str) -> None:
    if label.isascii():
        return
    hidden = "xn--" + label.lower().encode("punycode").decode("ascii")
    letters, ascii_form = _parsed(f"ann@{label.lower()}.example"), _parsed(f"ann@{hidden}.example")
    assert (letters is None) == (ascii_form is None)
    if letters and ascii_form:
        assert letters.key == ascii_form.key == f"ann@{hidden}.example"


_ROUTED = "@route.example:ann@example.com"


def _owns(login: str, sender: Address) -> bool:
    return Account.of(LoginRow("1", login, "x"), ceiling=1).owns(sender)


@pytest.mark.parametrize("text", [text for text, *_ in READ])
def test_one_parser_for_login_sender_recipient_and_from(text: str) -> None:
    read = address.parse(text)
    assert _owns(text, read)
    assert grammar.mail(f"FROM:<{text}> SMTPUTF8".encode()).sender == read
    assert grammar.rcpt(f"TO:<{text}>".encode(), True).recipient == read
    assert senders(Header.parse(f"From: A <{text}>\r\nSender: {text}\r\n".encode())) == [("From", read), ("Sender", read)]


@pytest.mark.parametrize("text", [text for text in REFUSED if text.isprintable() or text.isascii()])
def test_what_it_refuses_is_refused_everywhere(text: str) -> None:
    assert Account.of(LoginRow("1", text, "x"), ceiling=1).addresses == frozenset()
    octets = text.encode("utf-8", "surrogatepass")
    for path in (lambda: grammar.mail(b"FROM:<" + octets + b"> SMTPUTF8"), lambda: grammar.rcpt(b"TO:<" + octets + b">", True)):
        try:
            read = path()
        except Refused:
            continue
        assert text in ("", _ROUTED), read  # the null sender and a source route: each means something as a path
    try:
        found = senders(Header.parse(b"From: A <" + octets.replace(b"\r\n", b"\r\n ") + b">\r\n"))
    except BadContent:
        return
    assert text.strip() != text or text == _ROUTED, found  # white space around it may be there


@pytest.mark.parametrize(("one", "other"), SAME)
def test_an_account_may_be_named_in_another_spelling(one: str, other: str) -> None:
    assert _owns(one, address.parse(other))
    assert _owns(other, address.parse(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_an_account_may_not_be_named_by_another_address(one: str, other: str) -> None:
    assert not _owns(one, address.parse(other))
    assert not _owns(other, address.parse(one))
