"""Blind recipients: nothing of them is in the queued header or in a report about others, and no look-alike makes them named."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from gateway import address
from gateway.message.header import Header
from gateway.message.prepare import Trace, classify, recipients_named, rewrite
from gateway.message.report import Action
from gateway.queue.model import Envelope, Field, Inline, NewMessage, Outcome, QueuedMessage, Recipient, Result, transactions
from gateway.queue.reports import Reporter
from tests.fakes import FakeBodies
from tests.unit.awaiting import value_of

BLIND = "blind+tag@bücher.example"
NOW = datetime(2024, 6, 3, 10, 20, 30, tzinfo=UTC).timestamp()
TRACE = Trace("smtp.example.com", "0123456789abcdef", "laptop.lan", None, "ESMTPSA", "TLSv1.3")


def _place(block: str | bytes, recipient: str = BLIND) -> str:
    octets = block.encode() if isinstance(block, str) else block
    (place,) = classify(recipients_named(Header.parse(octets)), [address.parse(recipient)])
    return place


NAMED = [
    ("To: blind+tag@bücher.example", "to"),
    ("Cc: blind+tag@bücher.example", "cc"),
    ("TO: Blind+Tag@xn--bcher-kva.EXAMPLE", "to"),
    ("Cc : =?utf-8?q?J=C3=A4ne=2C_Doe?=\r\n <blind+tag@bücher.example>", "cc"),
    ("Cc: a@x.example\r\nCc: b@x.example, blind+tag@bücher.example", "cc"),
    ("Cc: blind+tag@bücher.example\r\nCc: blind+tag@bücher.example", "cc"),
    ("Cc: blind+tag@bücher.example\r\nTo: blind+tag@bücher.example", "to"),
    ("Bcc: blind+tag@bücher.example\r\nTo: blind+tag@bücher.example", "to"),
    ("Bcc: blind+tag@bücher.example\r\nCc: (c) <blind+tag@bücher.example>", "cc"),
    ('To: "blind+tag"@bücher.example', "to"),
    ("To: friends: a@x.example, <blind+tag@bücher.example>;", "to"),
    ("To: friends: a@x.example;, blind+tag@bücher.example", "to"),
    ('To: "open, b@x.example\r\nTo: blind+tag@bücher.example', "to"),
    ("To: nonsense, blind+tag@bücher.example, <>", "to"),
    ("Resent-To: blind+tag@bücher.example", "to"),
]


@pytest.mark.parametrize(("block", "place"), NAMED)
def test_named(block: str, place: str) -> None:
    assert _place(block) == place


NOT_NAMED = [
    "",
    "Bcc: {}",
    "Resent-Bcc: {}",
    "To: blind@bücher.example",  # another address, which may be the same mailbox
    "To: blind+tag+tag@bücher.example",
    "To: blind+tag@bucher.example",
    "To: blind+tag@sub.bücher.example",
    "To: {}.org, x{}, x.{}",
    'To: "{}" <a@x.example>',
    'To: "{}, {}" <a@x.example>, ({}) b@x.example',
    "To: {} <a@x.example>",
    "To: <{}> <a@x.example>",
    "To: ({})",
    "To: a@x.example ({}), b@x.example (a ({}, \\), {}) b)",
    "To: =?utf-8?q?{}?= <a@x.example>",
    "To: =?utf-8?q?a,{},b?= <a@x.example>",
    "To: =?utf-8?q?a,?= =?utf-8?q?{}?= =?utf-8?q?,b?= <a@x.example>",
    'To: =?a?q?x"?= <a@x.example>, {}, " <b@x.example>',
    "To: =?utf-8?q?blind+tag=40b=C3=BCcher=2Eexample?= <a@x.example>",
    "To: =?utf-8?q?blind+tag=40b=C3=BCcher=2Eexample?=",
    "To: {}: a@x.example;",
    "To: {}:;",
    "To: <@bücher.example,{}:a@x.example>",
    "To: mailto:{}?subject=x",
    "To: <mailto:{}>",
    'To: "{}"',
    'To: "open, {}',
    "To: (open, {}",
    "To: a@x.example <open, {}",
    "To: blind+tag @ bücher.example",
    "To: blind+tag(c)@bücher.example",
    "Subject: {}\r\nFrom: {}\r\nReply-To: {}\r\nX-Bcc: {}\r\nApparently-To: {}\r\nX-Original-To: {}\r\nDelivered-To: {}",
    "X-To: {}\r\nTo-Do: {}\r\nSubject: x\r\n To: {}",
]


@pytest.mark.parametrize("template", NOT_NAMED)
def test_not_named(template: str) -> None:
    assert _place(template.replace("{}", BLIND)) == "bcc"


@pytest.mark.parametrize("charset", ["latin-1", "iso-8859-15"])
def test_a_name_in_another_charset_hides_no_recipient_and_makes_none(charset: str) -> None:
    block = "To: Jäne <a@x.example>, «b@x.example» <c@x.example>".encode(charset)
    assert [_place(block, who) for who in ("a@x.example", "b@x.example", "c@x.example")] == ["to", "bcc", "to"]


_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=6, max_size=9)
_SOMEBODY = st.builds("{}@{}.example".format, _WORD, st.sampled_from(["x", "bücher", "xn--bcher-kva"]))
_SHAPE = st.sampled_from(
    ["{}", "<{}>", "Jane <{}>", '"Doe, J" <{}>', "{} (c)", "g: {};", "=?utf-8?q?J=C3=A4ne?=\r\n <{}>", "\r\n\t{}"]
)
_KEPT_NAMES = st.sampled_from(["To", "CC", "Cc ", "Reply-To", "Subject", "X-Bcc-Not", "References"])
_BLIND_NAMES = st.sampled_from(["Bcc", "bcc", "BCC", "Bcc ", "bCc\t", "Resent-Bcc", "RESENT-BCC ", "resent-bcc"])


@st.composite
def _blocks(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A header with blind recipients in fields for them, in whatever form, and those recipients."""
    blind = draw(st.lists(_SOMEBODY, min_size=1, max_size=4, unique=True))
    others = draw(st.lists(_SOMEBODY, max_size=4))
    lines = [f"{draw(_KEPT_NAMES)}: {draw(_SHAPE).format(who)}\r\n".encode() for who in others]
    for who in blind:
        more = ", ".join(draw(_SHAPE).format(each) for each in draw(st.permutations(blind))[:2])
        junk = draw(st.sampled_from([b"", b",", b",\r\n J\xe4ne \xff <", b'"', b"("]))
        lines.append(f"{draw(_BLIND_NAMES)}:{draw(_SHAPE).format(who)}, {more}".encode() + junk + b"\r\n")
    return b"".join(draw(st.permutations(lines))), blind


def _spellings(who: str) -> list[bytes]:
    """What would tell of `who`: the address in letters and as A-labels, and its local part."""
    return [who.encode(), address.parse(who).key.encode(), who.partition("@")[0].encode()]


def _queued(block: bytes) -> bytes:
    return rewrite(Header.parse(block), trace=TRACE, date=NOW, message_id="17", login="me@example.com") + b"\r\n"


@given(_blocks())
@example(
    (
        b"Bcc:\r\n blind1@x.example\r\nTo: a@x.example\r\nresent-bcc :a@y.example,\r\n\t\r\n blind1@x.example\r\n",
        ["blind1@x.example"],
    )
)
def test_no_octet_of_a_blind_recipient_is_queued(made: tuple[bytes, list[str]]) -> None:
    block, blind = made
    kept = re.sub(rb"(?im)^(?:resent-)?bcc[ \t]*:.*\r\n(?:[ \t].*\r\n)*", b"", block)
    assume(not any(text in kept for who in blind for text in _spellings(who)))
    queued = _queued(block).lower()
    assert not [text for who in blind for text in _spellings(who) if text in queued]
    assert queued.count(b"bcc") == kept.lower().count(b"bcc")
    assert set(classify(recipients_named(Header.parse(block)), [address.parse(who) for who in blind])) == {"bcc"}


def _reported(block: bytes, recipients: list[str], ret: str) -> list[tuple[Recipient, NewMessage]]:
    """Every recipient fails: the reports, each with one of those it is about, as the queue makes them."""
    places = classify(recipients_named(Header.parse(block)), [address.parse(who) for who in recipients])
    rows = [
        Recipient(number, who, Field(place), "FAILURE", f"rfc822;{who}", 1, False)
        for number, (who, place) in enumerate(zip(recipients, places, strict=True))
    ]
    message = QueuedMessage(
        "M", "1", Envelope("me@example.com", ret=ret), _queued(block), Inline(b"body\r\n"), 1.0, tuple(rows)
    )
    reporter = Reporter("gw.example", FakeBodies(), lambda: "R000000000000001", lambda: NOW)
    reports = []
    for group in transactions(rows):
        outcomes = [Outcome(row, Result.FAILED, 550, "5.1.1", f"no {row.address} here", "hop") for row in group]
        report = value_of(Deferred.fromCoroutine(reporter.write(Action.FAILED, message, 60.0, outcomes)))
        assert report is not None
        reports.append((group[0], report))
    return reports


@pytest.mark.parametrize("ret", ["", "HDRS", "FULL"])
def test_a_report_shows_a_blind_recipient_to_nobody_but_in_its_own(ret: str) -> None:
    block = (
        b"From: me@example.com\r\nTo: tom@x.example\r\nCc: carla@x.example\r\n"
        b"Bcc: secret1@x.example,\r\n secret2@x.example\r\nResent-Bcc: secret2@x.example\r\n"
    )
    reports = _reported(block, ["tom@x.example", "secret1@x.example", "carla@x.example", "secret2@x.example"], ret)
    assert [first.address for first, _ in reports] == ["tom@x.example", "secret1@x.example", "secret2@x.example"]
    for first, report in reports:
        assert isinstance(report.body, Inline)
        octets = report.header + report.body.data
        shown = {who for who in (b"secret1", b"secret2") if who in octets}
        assert shown == ({first.address.encode().partition(b"@")[0]} if first.field is Field.BCC else set())
        assert (b"; carla@x.example\r\n" in octets) == (first.field is not Field.BCC)
        assert [to.address for to in report.recipients] == ["me@example.com"]
