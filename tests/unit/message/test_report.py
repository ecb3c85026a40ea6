"""Reports to senders, read back with Python's own mail parser."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from quopri import decodestring
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message.report import Action, Fate, Original, report, status_code

NOW = datetime(2024, 6, 4, 10, 0, 0, tzinfo=UTC)
ARRIVED = datetime(2024, 6, 3, 9, 0, 0, tzinfo=UTC)
LATER = datetime(2024, 6, 6, 9, 0, 0, tzinfo=UTC)
HEADER = b"From: me@example.com\r\nTo: bob@x.example\r\nSubject: Hello\r\n\r\n"
FATE = Fate("bob@x.example", 550, "5.1.1", "No such user", "mx.x.example", "rfc822;bob+2Bold@x.example", NOW)


def _original(*, ret: str = "", header: bytes = HEADER, body: bytes | None = b"Text\r\n", envid: str = "") -> Original:
    return Original("me@example.com", envid, ret, ARRIVED, header, body)


def _read(
    action: Action, fates: list[Fate], original: Original | None = None, retry_until: datetime | None = None
) -> EmailMessage:
    """The report through Python's parser, which must find nothing wrong with it."""
    header, body = report(
        action,
        fates,
        original or _original(),
        hostname="smtp.example.com",
        report_id="0123456789abcdef",
        date=NOW,
        retry_until=retry_until,
    )
    assert header.endswith(b"\r\n\r\n")
    assert header.count(b"\r\n\r\n") == 1
    assert body.endswith(b"\r\n")
    assert b"\n" not in (header + body).replace(b"\r\n", b"")
    message = message_from_bytes(header + body, policy=policy.SMTP)
    assert not [part.defects for part in message.walk() if part.defects]
    return message


def _parts(message: EmailMessage) -> list[EmailMessage]:
    return cast(list[EmailMessage], message.get_payload())


def _text(part: EmailMessage) -> str:
    """The words of a part, however its lines are broken."""
    return " ".join(cast(str, part.get_content()).split())


def _raw(part: EmailMessage) -> bytes:
    """The content of any part, its transfer encoding undone."""
    return part.as_bytes().partition(b"\r\n\r\n")[2]


def _blocks(message: EmailMessage) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in block.items()} for block in _parts(_parts(message)[1])]


def test_a_failure() -> None:
    message = _read(Action.FAILED, [FATE], _original(envid="id+2B1"))
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@smtp.example.com>"
    assert message["To"] == "me@example.com"
    assert message["Subject"] == "Your message could not be delivered"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<0123456789abcdef@smtp.example.com>"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, _, returned = _parts(message)
    for words in ("bob@x.example", "mx.x.example", "550 5.1.1 No such user", "Check the spelling"):
        assert words in _text(text)
    assert "\r\n\r\n    bob@x.example\r\n\r\n" in text.as_string()
    assert _blocks(message) == [
        {
            "Original-Envelope-Id": "id+1",
            "Reporting-MTA": "dns; smtp.example.com",
            "Arrival-Date": "Mon, 03 Jun 2024 09:00:00 +0000",
        },
        {
            "Original-Recipient": "rfc822; bob+old@x.example",
            "Final-Recipient": "rfc822; bob@x.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.x.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
            "Last-Attempt-Date": "Tue, 04 Jun 2024 10:00:00 +0000",
        },
    ]
    assert returned.get_content_type() == "text/rfc822-headers"
    assert _raw(returned).strip() == HEADER.strip()


def test_a_delay_says_how_long_and_that_nothing_need_be_done() -> None:
    message = _read(Action.DELAYED, [Fate("bob@x.example", 0, "", "connection refused")], retry_until=LATER)
    text = _text(_parts(message)[0])
    assert "You need not send it again" in text
    assert "Thu, 06 Jun 2024" in text
    assert "connection refused" in text
    block = _blocks(message)[1]
    assert block["Action"] == "delayed"
    assert block["Status"] == "4.4.1"
    assert block["Will-Retry-Until"] == "Thu, 06 Jun 2024 09:00:00 +0000"
    assert "Diagnostic-Code" not in block
    assert "Remote-MTA" not in block


@pytest.mark.parametrize(
    ("action", "subject"),
    [(Action.RELAYED, "Your message was handed on"), (Action.DELIVERED, "Your message was delivered")],
)
def test_good_news(action: Action, subject: str) -> None:
    message = _read(action, [Fate("bob@x.example", 250, "", "queued")], _original(ret="FULL"), retry_until=LATER)
    assert message["Subject"] == subject
    block = _blocks(message)[1]
    assert (block["Action"], block["Status"]) == (str(action), "2.0.0")
    assert "Will-Retry-Until" not in block
    assert _parts(message)[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("code", "enhanced", "expected"),
    [
        (550, "5.1.1", "5.1.1"),
        (550, "", "5.0.0"),
        (451, "", "4.0.0"),
        (250, "", "2.0.0"),
        (0, "", "4.4.1"),
        (0, "5.6.3", "5.6.3"),
        (554, "5.7.1\r\nAction: delivered", "5.0.0"),
        (354, "3.0.0", "4.4.1"),
    ],
)
def test_status_code(code: int, enhanced: str, expected: str) -> None:
    assert status_code(code, enhanced) == expected


@pytest.mark.parametrize(
    ("code", "enhanced", "advice"),
    [
        (550, "5.1.1", "Check the spelling"),
        (550, "5.1.10", "Check the spelling"),
        (552, "5.2.2", "mailbox is full"),
        (552, "5.3.4", "smaller attachments"),
        (554, "5.7.1", "rules refuse the message"),
        (451, "4.7.1", "We tried for a long time"),
        (0, "", "We tried for a long time"),
        (554, "", "it says why"),
        (250, "", "it says why"),
    ],
)
def test_a_failure_says_what_to_do(code: int, enhanced: str, advice: str) -> None:
    assert advice in _text(_parts(_read(Action.FAILED, [Fate("bob@x.example", code, enhanced, "no")]))[0])


def test_only_the_recipients_given_are_named_each_in_a_block() -> None:
    message = _read(Action.FAILED, [FATE, Fate("eve@x.example", 550, "", "no")])
    assert [block.get("Final-Recipient") for block in _blocks(message)] == [
        None,
        "rfc822; bob@x.example",
        "rfc822; eve@x.example",
    ]


@pytest.mark.parametrize(
    ("ret", "body", "enhanced", "kind"),
    [
        ("FULL", b"Text\r\n", "5.1.1", "message/rfc822"),
        ("FULL", None, "5.1.1", "text/rfc822-headers"),
        ("HDRS", b"Text\r\n", "5.1.1", "text/rfc822-headers"),
        ("", b"Text\r\n", "5.1.1", "text/rfc822-headers"),
        ("FULL", b"T\xe9xt\r\n", "5.6.3", "text/rfc822-headers"),
    ],
)
def test_what_is_returned(ret: str, body: bytes | None, enhanced: str, kind: str) -> None:
    message = _read(Action.FAILED, [Fate("bob@x.example", 550, enhanced, "no")], _original(ret=ret, body=body))
    assert _parts(message)[2].get_content_type() == kind


def test_a_whole_message_comes_back_as_it_was() -> None:
    message = _read(Action.FAILED, [FATE], _original(ret="FULL", body=b"T\xe9xt\r\n.\r\n"))
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert _parts(message)[2]["Content-Transfer-Encoding"] == "8bit"
    assert HEADER + b"T\xe9xt\r\n.\r\n" in message.as_bytes()


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("Grüße".encode(), "message/global-headers"),
        (b"Gr\xfc\xdfe", "text/rfc822-headers"),
        (b"x" * 1200, "text/rfc822-headers"),
    ],
)
def test_headers_that_are_not_plain_ascii_come_back_in_seven_bits(subject: bytes, kind: str) -> None:
    header = b"From: me@example.com\r\nSubject: " + subject + b"\r\n\r\n"
    octets = b"".join(report(Action.FAILED, [FATE], _original(header=header), hostname="h.example", report_id="1", date=NOW))
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert f"Content-Type: {kind}\r\nContent-Transfer-Encoding: quoted-printable\r\n".encode() in octets


def test_addresses_beyond_ascii_make_an_international_report() -> None:
    fate = Fate("jäne@bücher.example", 550, "5.1.1", "gibt’s nicht", orcpt=r"utf-8;j\x{E4}ne@b\x{FC}cher.example")
    header, body = report(Action.FAILED, [fate], _original(), hostname="h.example", report_id="1", date=NOW)
    assert b"report-type=global-delivery-status" in header
    assert (header + body).isascii()
    status = body.partition(b"Content-Type: message/global-delivery-status\r\n")[2]
    assert status.startswith(b"Content-Transfer-Encoding: quoted-printable\r\n")
    for line in ("Final-Recipient: utf-8; jäne@bücher.example", "Original-Recipient: utf-8; jäne@bücher.example"):
        assert line.encode() in decodestring(status)


def test_foreign_words_in_a_diagnostic_stay_readable_for_people() -> None:
    message = _read(Action.FAILED, [Fate("bob@x.example", 550, "", "Empfänger unbekannt")])
    assert "Empfänger unbekannt" in _text(_parts(message)[0])
    assert _blocks(message)[1]["Diagnostic-Code"] == "smtp; 550 Empf?nger unbekannt"
    assert _parts(message)[1].get_content_type() == "message/delivery-status"


_WORDS = st.text(max_size=80) | st.sampled_from(
    ["a\r\nStatus: 2.0.0", "\r\n\r\n--=_0123456789abcdef", "x" * 3000, "a\u2028b\u202ec"]
)


@given(text=_WORDS, remote=_WORDS, enhanced=_WORDS, orcpt=_WORDS, envid=_WORDS)
def test_no_words_of_others_can_break_the_report(text: str, remote: str, enhanced: str, orcpt: str, envid: str) -> None:
    fate = Fate("bob@x.example", 550, enhanced, text, remote, f"rfc822;{orcpt}", NOW)
    header, body = report(
        Action.FAILED, [fate], _original(envid=envid), hostname="h.example", report_id="0123456789abcdef", date=NOW
    )
    assert (header + body).isascii()
    boundary = b"--" + header.partition(b'boundary="')[2].partition(b'"')[0]
    _, _, status_part, header_part, end = body.split(boundary)
    assert end == b"--\r\n"
    assert header_part.endswith(HEADER)
    status = decodestring(status_part).strip().split(b"\r\n\r\n")
    assert len(status) == 3  # the part's own header, the message, the recipient
    names = {line.split(b":")[0] for block in status[1:] for line in block.split(b"\r\n") if line[:1] not in (b" ", b"")}
    assert names <= {
        b"Original-Envelope-Id", b"Reporting-MTA", b"Arrival-Date", b"Original-Recipient", b"Final-Recipient",
        b"Action", b"Status", b"Remote-MTA", b"Diagnostic-Code", b"Last-Attempt-Date",
    }  # fmt: skip
    assert b"\r\nAction: failed\r\nStatus: " in status[2]
    assert len(body) < 20_000


@pytest.mark.parametrize("escaped", ["a+0D+0AAction: delivered", "a\\x{0A}b", "a\\x{D800}b", "a\\x{FFFFFF}b", "a+0"])
def test_escapes_in_orcpt_hide_nothing(escaped: str) -> None:
    fate = Fate("bob@x.example", 550, "5.1.1", "no", orcpt=f"utf-8;{escaped}")
    octets = b"".join(report(Action.FAILED, [fate], _original(), hostname="h.example", report_id="1", date=NOW))
    assert b"\r\nAction: delivered" not in octets
    assert octets.count(b"\r\nOriginal-Recipient: ") == 1


def test_a_body_that_knows_the_boundary_stays_one_part() -> None:
    body = b"--=_0123456789abcdef\r\nContent-Type: text/html\r\n\r\nfake\r\n--=_0123456789abcdef_--\r\n"
    message = _read(Action.FAILED, [FATE], _original(ret="FULL", body=body))
    assert len(_parts(message)) == 3
