"""A submitted header: who it is from, where it names its recipients, and what is changed in it."""

from datetime import UTC, datetime
from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import address
from gateway.message.header import BadContent, Header
from gateway.message.prepare import Trace, check, classify, recipients_named, rewrite, senders

NOW = datetime(2024, 6, 3, 10, 20, 30, tzinfo=UTC).timestamp()
HIDDEN = Trace("smtp.example.com", "0123456789abcdef", "laptop.lan", None, "ESMTPSA", "TLS_AES_128_GCM_SHA256")
COMPLETE = b"From: a@x.example\r\nDate: then\r\nMessage-ID: <1@x>\r\n"


def _rewritten(block: bytes, trace: Trace = HIDDEN, login: str = "me@example.com") -> bytes:
    return rewrite(Header.parse(block), trace=trace, date=NOW, message_id="17", login=login)


_RECEIVED = (
    b"Received: by smtp.example.com with ESMTPSA\r\n\tid 0123456789abcdef\r\n"
    b"\ttls TLS_AES_128_GCM_SHA256; Mon, 03 Jun 2024 10:20:30 +0000\r\n"
)


def test_a_complete_header_gets_received_on_top_and_nothing_else() -> None:
    assert _rewritten(COMPLETE) == _RECEIVED + COMPLETE


def test_an_empty_header_gets_what_is_missing() -> None:
    added = b"Date: Mon, 03 Jun 2024 10:20:30 +0000\r\nMessage-ID: <17@smtp.example.com>\r\nFrom: me@example.com\r\n"
    assert _rewritten(b"") == _RECEIVED + added


def test_each_second_has_its_own_date() -> None:
    for seconds, shown in ((0.0, b"10:20:30"), (0.9, b"10:20:30"), (1.0, b"10:20:31"), (86400.0, b"Tue, 04 Jun 2024 10:20:30")):
        block = rewrite(Header.parse(COMPLETE), trace=HIDDEN, date=NOW + seconds, message_id="17", login="me@example.com")
        assert shown in block


@pytest.mark.parametrize(
    "bcc",
    [
        b"Bcc: secret@x.example\r\n",
        b"BCC : secret@x.example\r\n",
        b"bcc\t: Jane\r\n <secret@x.example>,\r\n\tsecret2@x.example\r\n",
        b"Resent-Bcc: secret@x.example\r\n",
        b"Bcc:\r\nBcc: secret@x.example\r\n",
    ],
)
def test_blind_recipients_leave_no_trace(bcc: bytes) -> None:
    for block in (bcc + COMPLETE, COMPLETE + bcc, COMPLETE[:19] + bcc + COMPLETE[19:]):
        assert _rewritten(block) == _RECEIVED + COMPLETE


@given(st.lists(st.sampled_from([b"Bcc: s@x.example\r\n", b"Subject: a\r\n b\r\n", b"X :  y \r\n", b"DKIM-Signature: z\r\n"])))
def test_other_fields_pass_byte_for_byte(fields: list[bytes]) -> None:
    kept = b"".join(field for field in fields if not field.startswith(b"Bcc"))
    assert _rewritten(b"".join(fields) + COMPLETE) == _RECEIVED + kept + COMPLETE


def test_a_login_beyond_ascii_makes_a_utf8_from() -> None:
    assert "From: jäne@bücher.example\r\n".encode() in _rewritten(b"", login="jäne@bücher.example")


@pytest.mark.parametrize("login", ["demo", "", "x@y.example\r\nBcc: z@z.example"])
def test_no_from_and_a_login_that_is_no_address(login: str) -> None:
    with pytest.raises(BadContent, match="From field is missing"):
        _rewritten(b"", login=login)


@pytest.mark.parametrize(
    ("helo", "client", "clause"),
    [
        ("laptop.lan", "192.0.2.1", "from laptop.lan ([192.0.2.1])"),
        ("[192.0.2.7]", "2001:db8::1", "from [192.0.2.7] ([IPv6:2001:db8::1])"),
        ("a (b)\r\nBcc: c; <d@e>\x00é", "192.0.2.1", "from abBcc:cde ([192.0.2.1])"),
        ("()", "192.0.2.1", "from [192.0.2.1]"),
    ],
)
def test_received_names_a_client_that_is_not_hidden(helo: str, client: str, clause: str) -> None:
    trace = Trace("smtp.example.com", "0123456789abcdef", helo, client, "ESMTPA", "")
    expected = f"Received: {clause}\r\n\tby smtp.example.com with ESMTPA\r\n\tid 0123456789abcdef; "
    assert _rewritten(COMPLETE, trace).startswith(expected.encode())


@given(st.text(max_size=600))
def test_no_helo_can_break_out_of_received(helo: str) -> None:
    trace = Trace("smtp.example.com", "0123456789abcdef", helo, "192.0.2.1", "ESMTPSA", "TLS_AES_128_GCM_SHA256")
    (received, *rest) = Header.parse(_rewritten(COMPLETE, trace)).fields
    assert [name for _, name in rest] == [b"From", b"Date", b"Message-ID"]
    assert received[0].count(b"\r\n") == 4
    assert max(map(len, received[0].split(b"\r\n"))) < 330
    parsed = BytesParser(policy=policy.SMTP).parsebytes(received[0] + b"\r\n")
    assert parsed.keys() == ["Received"]


def test_a_hidden_client_is_not_named() -> None:
    assert b"laptop" not in _rewritten(COMPLETE)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", []),
        (b"From: Jane <a@x.example>\r\n", [("From", "a@x.example")]),
        (
            b"FROM: a@x.example,\r\n b@x.example\r\nSender: c@x.example\r\n",
            [("From", "a@x.example"), ("From", "b@x.example"), ("Sender", "c@x.example")],
        ),
        (b"Sender: c@x.example\r\n", [("Sender", "c@x.example")]),
        (b"X-From: b@x.example\r\nFrom : a@x.example\r\n", [("From", "a@x.example")]),
    ],
)
def test_senders(block: bytes, expected: list[tuple[str, str]]) -> None:
    assert [(field, str(found)) for field, found in senders(Header.parse(block))] == expected


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"From: a@x.example\r\nfrom : b@x.example\r\n", "more than one From field"),
        (b"Sender: a@x.example\r\nSender: a@x.example\r\n", "more than one Sender field"),
        (b"Sender: a@x.example, b@x.example\r\n", "the Sender field has more than one address"),
        (b"From:\r\n", "the From field has no address"),
        (b"Sender: ,\r\n", "the Sender field has no address"),
        (b"From: group: a@x.example;\r\n", "the From field has a group of addresses"),
        (b"From: nobody\r\n", "the From field has an address that is not valid"),
        (b"From: a@x.example <b@y.example>\r\n", "the From field has a display name that cannot be read"),
        (b"From: J\xe4ne <a@x.example>\r\n", "the From field has characters that are neither ASCII nor UTF-8"),
        (b'From: "a\\\r\n b"@x.example\r\n', "the From field has a backslash at the end of a line"),
        *(
            (f"{name}: {form}\r\n".encode(), f"the {name} field has an address whose domain is {flaw}")
            for name in ("From", "Sender", "To", "Cc", "Reply-To", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc")
            for form, flaw in (
                ("ann@gmail", "not complete; write it in full, as in name@example.com"),
                ('"A, B" <ann@localhost>', "not complete; write it in full, as in name@example.com"),
                ("ann@1.2.3.4", "an IP address without brackets; write name@[192.0.2.1]"),
                ("ann@example.123", "not valid, since it ends with a number"),
            )
        ),
        (
            b"To: a@x.example, friends: b@y.example, (c) <c@host>;\r\n",
            "the To field has an address whose domain is not complete; write it in full, as in name@example.com",
        ),
        (b"Received: x\r\n" * 51, "it has passed too many mail servers; is it going in a circle?"),
    ],
)
def test_refused(block: bytes, reason: str) -> None:
    with pytest.raises(BadContent) as refused:
        check(Header.parse(block))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "block",
    [
        b"",
        COMPLETE,
        b"Received: x\r\n" * 50 + COMPLETE,
        b"To: undisclosed-recipients:;\r\n",
        b"To: ann\r\nCc: <bob>, Cleo\r\nReply-To: noreply\r\n",
        b"To: taro..yamada.@docomo.ne.jp, " + b"l" * 200 + b"@example.com\r\n",
        b"To: a@[192.0.2.1], a@[IPv6:2001:db8::1]\r\n",
        b"To: ann@host (\r\n",
        b"Bcc: ann@host\r\nResent-Bcc: ann@host\r\n",
        b"Subject: ann@host\r\nX-To: ann@host\r\nMessage-ID: <a@host>\r\n",
        b"To: a@x.example\r\nTo: ???\r\nDate: x\r\nDate: y\r\nSubject: 1\r\nSubject: 2\r\n",
    ],
)
def test_tolerated(block: bytes) -> None:
    check(Header.parse(block))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", ["bcc", "bcc"]),
        (b"To: Jane <Jane@X.example>\r\n", ["to", "bcc"]),
        (b"To: jane@x.example\r\nCc: jane@x.example, bob@b\xc3\xbccher.example\r\n", ["to", "cc"]),
        (b"Cc: jane@x.example\r\nTo: a@x.example\r\nTO : jane@x.example\r\n", ["to", "bcc"]),
        (b"Bcc: jane@x.example, bob@xn--bcher-kva.example\r\n", ["bcc", "bcc"]),
        (b"Resent-To: jane@x.example\r\nResent-Cc: bob@xn--bcher-kva.example\r\n", ["to", "cc"]),
        (b"To: friends: jane@x.example;, <bob@xn--bcher-kva.example\r\n", ["to", "bcc"]),
        (b'To: "bob@xn--bcher-kva.example" <a@x.example> (jane@x.example)\r\n', ["bcc", "bcc"]),
        (b"From: jane@x.example\r\nReply-To: bob@xn--bcher-kva.example\r\n", ["bcc", "bcc"]),
    ],
)
def test_classify(block: bytes, expected: list[str]) -> None:
    recipients = [address.parse("jane@x.example"), address.parse("bob@BÜCHER.example".lower())]
    assert classify(recipients_named(Header.parse(block)), recipients) == expected
