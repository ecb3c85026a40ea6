"""What a next hop offers and what it does not: it is asked for no more, and the sender hears what follows from that."""

import email.message
import quopri
from typing import Any

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message
from tests.acceptance.smarthost import Delivery, Smarthost
from tests.acceptance.test_reports import reports, status_fields
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

BOB = "bob@example.net"


@pytest.fixture
def gateway(install: Install, smarthost: Smarthost) -> GatewayProcess:
    return install(relay={"next_hop": [smarthost.url], "retry": ["200ms"]}).start()


def send(gateway: GatewayProcess, octets: bytes, *rcpts: str, options: str = "") -> str:
    """`rcpts`: addresses, each perhaps with a space and parameters. The queue id."""
    with signed_in(gateway) as wire:
        assert wire.command(f"MAIL FROM:<{LOGIN}>{options}").code == 250
        for rcpt in rcpts or (BOB,):
            address, _, parameters = rcpt.partition(" ")
            assert wire.command(f"RCPT TO:<{address}> {parameters}".rstrip()).code == 250
        said = wire.data(octets)
        assert said.code == 250, said
        return said.text.rpartition(" ")[2]


def report_of(gateway: GatewayProcess, hop: Smarthost) -> Delivery:
    """The only one there is."""
    (report,) = until(lambda: reports(hop), gateway.story)
    return report


def parts(report: Delivery) -> list[email.message.EmailMessage]:
    """The parts of a valid multipart/report."""
    assert not [part.defects for part in report.message.walk() if part.defects]
    assert report.message.get_content_type() == "multipart/report"
    found: Any = list(report.message.iter_parts())
    assert len(found) == 3
    assert report.message.get_param("report-type") == found[1].get_content_type().partition("/")[2]
    return list(found)


def words(report: Delivery) -> str:
    """What a person reads, however its lines are broken."""
    return " ".join(str(parts(report)[0].get_content()).split())


def test_dsn_is_passed_on_where_it_is_offered(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    sent = send(
        gateway,
        message(to=f"{BOB}, carol@example.net"),
        f"{BOB} NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bold@example.net",
        "carol@example.net NOTIFY=NEVER",
        options=" RET=FULL ENVID=my+2Bid",
    )
    gateway.until_logged("delivered", 2, queue_id=sent)
    (delivery,) = smarthost.deliveries
    assert delivery.mail.endswith(" RET=FULL ENVID=my+2Bid")
    assert delivery.rcpts == (
        f"RCPT TO:<{BOB}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bold@example.net",
        "RCPT TO:<carol@example.net> NOTIFY=NEVER",
    )
    assert "smtp_gateway_reports_total{" not in gateway.get("/metrics")[1]  # the hop has taken that over


def test_dsn_is_answered_by_us_where_it_is_not(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    smarthost.extensions.remove("DSN")
    send(
        gateway,
        message(to=f"{BOB}, carol@example.net", body=b"the text\r\n"),
        f"{BOB} NOTIFY=SUCCESS ORCPT=rfc822;bob+2Bold@example.net",
        "carol@example.net",
        options=" RET=FULL ENVID=my+2Bid",
    )
    report = report_of(gateway, smarthost)
    (delivery,) = smarthost.received(BOB)
    assert delivery.mail.partition(">")[2].strip().startswith("SIZE=")
    assert "RET" not in delivery.mail
    assert delivery.rcpts == (f"RCPT TO:<{BOB}>", "RCPT TO:<carol@example.net>")
    whole, (recipient,) = status_fields(report)
    assert whole["original-envelope-id"] == "my+id"
    assert recipient["original-recipient"] == "rfc822; bob+old@example.net"
    assert (recipient["action"], recipient["status"]) == ("relayed", "2.0.0")
    assert "handed on to the next mail server for: bob@example.net You will get no further notice" in words(report)
    assert b"the text" not in report.data  # RET is for failures


def test_those_that_fail_together_are_told_together_with_the_message_where_asked_for(
    gateway: GatewayProcess, smarthost: Smarthost
) -> None:
    smarthost.faults = {
        b"RCPT TO:<bob": b"550-5.1.1 no such\r\n550 5.1.1 user\r\n",
        b"RCPT TO:<carol": b"552 5.2.3 too large\r\n",
    }
    smarthost.faults[b"RCPT TO:<dave"] = b"550 5.1.1 nor this one\r\n"
    addresses = [f"{name}@example.net" for name in ("bob", "carol", "dave")]
    send(
        gateway,
        message(to=", ".join(addresses), body=b"the text\r\n"),
        addresses[0],
        addresses[1] + " NOTIFY=DELAY,FAILURE",
        addresses[2] + " NOTIFY=NEVER",
        options=" RET=FULL",
    )
    gateway.until_logged("failed", 2)
    report = report_of(gateway, smarthost)
    status = {fields["final-recipient"]: fields for fields in status_fields(report)[1]}
    assert list(status) == [f"rfc822; {addresses[0]}"]  # 552 to RCPT is 452: carol is tried again
    assert status[f"rfc822; {addresses[0]}"]["diagnostic-code"] == "smtp; 550 5.1.1 no such user"
    assert "The mail server smarthost.example answered: 550 5.1.1 no such user Check the spelling" in words(report)
    assert parts(report)[2].get_content_type() == "message/rfc822"
    assert b"the text" in report.data


# The hop lacks an extension: RCPT TO, MAIL's parameters, field or body of the message; status, and what a person reads
CANNOT = [
    pytest.param("SIZE 0", "SIZE 9000", BOB, "", b"", b"x" * 900 + b"\r\n", "5.3.4", "smaller attachments", id="SIZE"),
    pytest.param("8BITMIME", "", BOB, " BODY=8BITMIME", b"", "ü\r\n".encode(), "5.6.3", "takes 7-bit only", id="8BITMIME"),
    pytest.param("SMTPUTF8", "", "bób@example.net", " SMTPUTF8", b"", b"x\r\n", "5.6.7", "letters beyond ASCII", id="address"),
    pytest.param(
        "SMTPUTF8", "", BOB, " SMTPUTF8", "X-U: ü\r\n".encode(), b"x\r\n", "5.6.9", "letters beyond ASCII", id="header"
    ),
]


@pytest.mark.parametrize(("offered", "instead", "rcpt", "options", "fields", "body", "status", "said"), CANNOT)
def test_what_a_hop_cannot_take_is_not_sent_and_told(
    gateway: GatewayProcess,
    smarthost: Smarthost,
    offered: str,
    instead: str,
    rcpt: str,
    options: str,
    fields: bytes,
    body: bytes,
    status: str,
    said: str,
) -> None:
    smarthost.extensions = [instead if word == offered else word for word in smarthost.extensions if instead or word != offered]
    send(gateway, message(body=body * 10, extra=fields), rcpt, options=options)
    report = report_of(gateway, smarthost)
    assert smarthost.deliveries == [report]
    assert report.data.isascii()  # what the hop does take
    assert f"Status: {status}" in quopri.decodestring(parts(report)[1].as_bytes()).decode().splitlines()
    assert said in words(report)
    assert rcpt in words(report)


def test_more_recipients_than_the_hop_takes_go_in_several_transactions(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    smarthost.extensions.append("LIMITS RCPTMAX=2 MAILMAX=2")
    names = [f"r{number}@example.net" for number in range(5)]
    sent = send(gateway, message(to=", ".join(names)), *names)
    gateway.until_logged("delivered", 5, queue_id=sent)
    assert [delivery.recipients for delivery in smarthost.deliveries] == [tuple(names[:2]), tuple(names[2:4]), tuple(names[4:])]
    assert smarthost.greeted == 2


def test_a_hop_that_takes_few_at_a_time_gets_the_rest_at_once(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    smarthost.faults = {f"RCPT TO:<r{number}@".encode(): b"452 4.5.3 too many\r\n" for number in (2, 3, 4)}
    names = [f"r{number}@example.net" for number in range(5)]
    sent = send(gateway, message(to=", ".join(names)), *names)
    gateway.until_logged("delivered", 5, queue_id=sent)
    assert [delivery.recipients for delivery in smarthost.deliveries] == [tuple(names[:2]), tuple(names[2:])]
    assert gateway.logged("retry") == []


@pytest.mark.parametrize("last_words", [b"", b"421 4.4.2 idle for too long\r\n"])
def test_a_kept_connection_that_the_hop_has_closed_costs_nothing(
    gateway: GatewayProcess, smarthost: Smarthost, last_words: bytes
) -> None:
    for number in range(3):
        sent = send(gateway, message(f"m{number}"))
        gateway.until_logged("delivered", queue_id=sent)
        smarthost.say(last_words)
        smarthost.hang_up()
    assert len(smarthost.received(BOB)) == 3
    assert gateway.logged("retry") == gateway.logged("hop down") == []
