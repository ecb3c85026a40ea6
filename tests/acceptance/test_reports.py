"""Reports to senders (RFC 3464): failures and delays, through the same smarthost, and never for mail from <>."""

import email.message
from typing import Any

from tests.acceptance.conftest import Install
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, submit
from tests.acceptance.smarthost import Delivery, Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

REFUSED = b"550 5.1.1 <gone@example.net>: no such user here\r\n"
LATER = b"451 4.7.1 come back later\r\n"


def reports(smarthost: Smarthost) -> list[Delivery]:
    return [delivery for delivery in list(smarthost.deliveries) if delivery.sender == ""]


def status_fields(delivery: Delivery) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The fields of a delivery-status part: those of the message, then those of each recipient."""
    report: Any = delivery.message
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    status = next(part for part in report.iter_parts() if part.get_content_type() == "message/delivery-status")
    groups: list[email.message.Message] = status.get_payload()
    first, *each = [{key.lower(): str(value) for key, value in group.items()} for group in groups if group.items()]
    return first, each


def test_a_refused_recipient_is_reported_to_the_sender(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<gone@": REFUSED}
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    octets = message("told", to="gone@example.net, bob@example.net", extra=b"X-Mine: yes\r\n", body=b"secret text\r\n")
    submit(gateway, octets, "gone@example.net", "bob@example.net")
    (report,) = until(lambda: reports(smarthost), gateway.story)
    assert report.recipients == (LOGIN,)
    assert "NOTIFY=NEVER" in report.rcpts[0]
    whole, (recipient,) = status_fields(report)
    assert whole["reporting-mta"] == "dns; gateway.example"
    assert recipient["final-recipient"] == "rfc822; gone@example.net"
    assert recipient["action"] == "failed"
    assert recipient["status"] == "5.1.1"
    assert "550" in recipient["diagnostic-code"]
    assert report.message["From"] is not None
    assert report.message["To"] == LOGIN
    assert report.message["Auto-Submitted"] == "auto-replied"
    assert b"X-Mine: yes" in report.data
    assert b"bob@example.net" in report.data  # the header that comes back is the sender's own
    assert b"secret text" not in report.data  # RET was not FULL
    assert len(smarthost.received("bob@example.net")) == 1


def test_a_refused_blind_recipient_is_reported_alone(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<": REFUSED, b"MAIL FROM:<>": b"250 ok\r\n"}
    smarthost.replies = {**smarthost.replies, b"RCPT TO:<ann@": b"250 ok\r\n"}
    smarthost.replies = dict(sorted(smarthost.replies.items(), reverse=True))
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    submit(gateway, message("three"), "bob@example.net", "blind1@example.net", "blind2@example.net")
    until(lambda: len(reports(smarthost)) == 3, gateway.story)
    told = [[each["final-recipient"] for each in status_fields(report)[1]] for report in reports(smarthost)]
    assert sorted(told) == [[f"rfc822; {name}@example.net"] for name in ("blind1", "blind2", "bob")]
    for report, recipients in zip(reports(smarthost), told, strict=True):
        assert (b"blind1" in report.data) == (recipients == ["rfc822; blind1@example.net"])


def test_many_failed_blind_recipients_make_twenty_reports_and_one_more(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<blind": REFUSED}
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    submit(gateway, message("many"), *(f"blind{n}@example.net" for n in range(30)))
    until(lambda: len(reports(smarthost)) == 21, gateway.story)
    summaries = [each for each in reports(smarthost) if each.message.get_content_type() == "multipart/mixed"]
    assert len(summaries) == 1
    assert b"10 more blind recipients" in b" ".join(summaries[0].data.split())
    assert b"blind1" not in summaries[0].data
    told = [status_fields(each)[1] for each in reports(smarthost) if each not in summaries]
    assert len({recipient["final-recipient"] for (recipient,) in told}) == 20
    assert len(gateway.logged("failed")) == 30


def test_with_any_sender_only_the_owner_of_it_gets_a_report(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<gone@": REFUSED}
    gateway = install(relay={"next_hop": [smarthost.url]}, senders={"envelope": "any"}).start()
    with signed_in(gateway) as wire:
        for sender in ("stranger@example.org", LOGIN):
            assert wire.command(f"MAIL FROM:<{sender}> RET=FULL").code == 250
            assert wire.command("RCPT TO:<gone@example.net>").code == 250
            assert wire.data(message(sender, to="gone@example.net", body=b"secret text\r\n")).code == 250
    (report,) = until(lambda: reports(smarthost), gateway.story)
    gateway.until_logged("failed", 2)
    (kept,) = gateway.until_logged("report not sent")
    assert kept["reason"] == "the account does not own the sender address"
    assert [each.recipients for each in reports(smarthost)] == [(LOGIN,)]
    assert b"secret text" not in report.data


def test_nothing_is_reported_about_mail_from_nobody(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<gone@": REFUSED}
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    with signed_in(gateway) as wire:
        wire.envelope("gone@example.net", sender="")
        assert wire.data(message("nobody", to="gone@example.net")).code == 250
        gateway.until_logged("failed")
        wire.envelope("gone@example.net", "bob@example.net")
        assert wire.data(message("somebody", to="gone@example.net")).code == 250
    (report,) = until(lambda: reports(smarthost), gateway.story)
    gateway.until_logged("delivered", 2)
    assert b"somebody@test.example" in report.data
    assert len(reports(smarthost)) == 1


def test_a_report_that_cannot_be_delivered_ends_there(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<": REFUSED}
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    submit(gateway, message(), "gone@example.net")
    first, second = gateway.until_logged("failed", 2)
    assert first["queue_id"] != second["queue_id"]
    assert second["account"] == ""
    assert 'smtp_gateway_reports_total{kind="failed"} 1.0' in gateway.get("/metrics")[1]


def test_a_delay_is_told_once_and_then_it_arrives(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<later@": LATER}
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["500ms"], "delay_warning": "1s"}).start()
    submit(gateway, message("slow"), "later@example.net")
    (report,) = until(lambda: reports(smarthost), gateway.story)
    _, (recipient,) = status_fields(report)
    assert recipient["action"] == "delayed"
    assert recipient["status"] == "4.7.1"
    assert recipient["final-recipient"] == "rfc822; later@example.net"
    assert "will-retry-until" in recipient
    tries = len(gateway.logged("retry"))
    gateway.until_logged("retry", tries + 3)
    smarthost.replies = {}
    until(lambda: smarthost.received("later@example.net"), gateway.story)
    assert len(reports(smarthost)) == 1


def test_what_cannot_be_delivered_in_time_fails(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<later@": LATER}
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["500ms"], "give_up": "2s"}).start()
    submit(gateway, message("late"), "later@example.net")
    (report,) = until(lambda: reports(smarthost), gateway.story)
    _, (recipient,) = status_fields(report)
    assert recipient["action"] == "failed"
    assert "451" in recipient["diagnostic-code"]


def test_success_is_told_when_asked_for(install: Install) -> None:
    """A Maildir is the end of the road, so NOTIFY=SUCCESS is answered here (RFC 3461 section 5.2.7)."""
    gateway = install().start()
    with signed_in(gateway) as wire:
        assert wire.command(f"MAIL FROM:<{LOGIN}> RET=HDRS ENVID=my-id").code == 250
        assert wire.command("RCPT TO:<bob@example.net> NOTIFY=SUCCESS ORCPT=rfc822;bob@example.net").code == 250
        assert wire.data(message()).code == 250
    until(lambda: list((gateway.at.mail / LOGIN).glob("new/*")), gateway.story)
    (file,) = (gateway.at.mail / LOGIN).glob("new/*")
    text = file.read_text("utf-8")
    assert "Original-Envelope-Id: my-id" in text
    assert "Action: delivered" in text
