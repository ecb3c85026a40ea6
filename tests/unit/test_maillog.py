"""What an operator reads: text from outside is cut and escaped, and lines say no more than they should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway import maillog


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("550 no such user", "550 no such user"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", "\\\\xff\\\\xfe"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_peer_text(text: str | bytes, shown: str) -> None:
    assert maillog.peer_text(text) == shown


@given(st.text() | st.binary(), st.integers(10, 300))
def test_peer_text_is_printable_and_bounded(text: str | bytes, limit: int) -> None:
    shown = maillog.peer_text(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


def test_long_text_is_cut() -> None:
    assert maillog.peer_text("x" * 300) == "x" * 197 + "..."


def test_a_sign_in_with_a_reason_is_a_warning() -> None:
    with capture_logs() as logs:
        maillog.sign_in("ok", "PLAIN", 0.12345, "7", "192.0.2.0/24", "")
        maillog.sign_in("unavailable", "LOGIN", 0.1, "", "192.0.2.0/24", "table away")
    assert logs[0] == {
        "event": "sign-in",
        "log_level": "info",
        "result": "ok",
        "mechanism": "PLAIN",
        "seconds": 0.123,
        "account": "7",
        "network": "192.0.2.0/24",
    }
    assert (logs[1]["log_level"], logs[1]["reason"]) == ("warning", "table away")


def test_recipients_are_counted_and_not_named() -> None:
    with capture_logs() as logs:
        maillog.accepted(queue_id="Q", account="7", network="n", octets=10, recipients={"to": 2, "bcc": 1})
    assert logs == [
        {
            "event": "accepted",
            "log_level": "info",
            "queue_id": "Q",
            "account": "7",
            "network": "n",
            "octets": 10,
            "to": 2,
            "bcc": 1,
        }
    ]


def test_the_credential_that_sent_is_named_by_its_number() -> None:
    with capture_logs() as logs:
        maillog.accepted(queue_id="Q", account="7", network="n", octets=10, recipients={"to": 2}, credential=5)
        maillog.sender_suspended("7", 5)
        maillog.sender_suspended("7")
    assert [line.get("credential") for line in logs] == [5, 5, None]
    assert [line["log_level"] for line in logs] == ["info", "info", "info"]


@pytest.mark.parametrize("action", ["defer", "reject", "suspend"])
def test_a_suspension_is_told_in_words(action: str) -> None:
    with capture_logs() as logs:
        maillog.over_daily_limit("7", 10, 10, action)
    assert logs[0]["event"].startswith("over the daily limit")
    assert ("the account is suspended" in logs[0]["event"]) == (action == "suspend")


@pytest.mark.parametrize(("retry_in", "facts"), [(None, {"hop": "h"}), (60, {"hop": "h", "retry_in": 60})])
def test_an_outcome_says_when_it_is_tried_again(retry_in: int | None, facts: dict[str, object]) -> None:
    with capture_logs() as logs:
        maillog.outcome("retry", hop="h", retry_in=retry_in)
    assert logs == [{"event": "retry", "log_level": "info", **facts}]


def test_a_sweep_that_found_nothing_is_silent() -> None:
    with capture_logs() as logs:
        maillog.swept(0, 0)
        maillog.swept(1, 0)
    assert [entry["finished_messages"] for entry in logs] == [1]
