"""What dialogues cannot show of a submission: time, figures, logs, what is left behind, and the same answer for all."""

from base64 import b64encode
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from gateway import address, reply
from gateway.accounts.model import LoginRow
from gateway.config import Senders
from gateway.errors import Unavailable
from gateway.queue.model import Spooled
from gateway.smtp import events
from gateway.submission import Peer, Submission
from tests.harness import CLIENT, DEMO, Client, Gateway
from tests.unit.awaiting import value_of

T = TypeVar("T")

ENVELOPE = b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<to@example.net>\r\n"


def run(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    return value_of(Deferred.fromCoroutine(coroutine))


def sign_in(login: str, password: str) -> bytes:
    return b"AUTH PLAIN " + b64encode(f"\0{login}\0{password}".encode()) + b"\r\n"


def bdat(message: bytes) -> bytes:
    return b"BDAT %d LAST\r\n%b" % (len(message), message)


def send(client: Client, message: bytes = b"To: to@example.net\r\n\r\ntext\r\n", envelope: bytes = ENVELOPE) -> bytes:
    """The last reply."""
    return client.ask(envelope + bdat(message)).splitlines()[-1]


def figure(gateway: Gateway, name: str, **labels: str) -> float:
    return gateway.registry.get_sample_value(f"smtp_gateway_{name}", labels) or 0.0


# Signing in

DENIED = {
    "wrong": ("demo@example.com", "wrong"),
    "unknown": ("nobody@example.com", "secret"),
    "disabled": ("disabled@example.com", "secret"),
    "not for SMTP": ("webonly@example.com", "secret"),
    "empty": ("", ""),
    "a control character": ("demo@example.com\n", "secret"),
}


@pytest.mark.parametrize(("login", "password"), DENIED.values(), ids=DENIED)
def test_a_denied_sign_in_waits_and_says_one_thing(login: str, password: str) -> None:
    gateway = Gateway(delay=0.3)
    client = gateway.connect("tls")
    client.ask(b"EHLO a\r\n")
    assert client.ask(sign_in(login, password)) == b""
    gateway.clock.advance(0.29)
    assert client.read() == b""
    gateway.clock.advance(0.02)
    assert client.read() == reply.WRONG_LOGIN.encode()


def test_a_good_sign_in_does_not_wait() -> None:
    client = Gateway(delay=0.3).connect("tls")
    assert b"\r\n235 " in client.ask(b"EHLO a\r\n" + sign_in("demo@example.com", "secret"))


def test_commands_behind_a_slow_sign_in_wait_for_it() -> None:
    gateway = Gateway(delay=0.3)
    client = gateway.connect("tls")
    client.ask(b"EHLO a\r\n")
    assert client.ask(sign_in("demo@example.com", "wrong") + b"NOOP\r\nMAIL FROM:<demo@example.com>\r\n") == b""
    gateway.clock.advance(0.3)
    assert [line[:3] for line in client.read().splitlines()] == [b"535", b"250", b"530"]


def test_a_password_too_long_is_not_hashed() -> None:
    gateway = Gateway(delay=0.3)
    client = gateway.connect("tls")
    client.ask(b"EHLO a\r\n")
    assert client.ask(sign_in("demo@example.com", "x" * 1025)) == reply.AUTH_TOO_LONG.encode()
    assert client.ask(sign_in("x" * 255, "secret")) == reply.AUTH_TOO_LONG.encode()


# The message


def test_who_sent_it_is_shown_where_that_is_wished() -> None:
    gateway = Gateway()
    gateway.rules.hide_client = False
    send(gateway.signed_in())
    header, _ = gateway.content(gateway.queued[0])
    assert header.startswith(b"Received: from client.example ([192.0.2.7])\r\n\tby gateway.example with ESMTPSA\r\n")


def test_nothing_shows_the_client_by_default() -> None:
    gateway = Gateway()
    send(gateway.signed_in())
    header, _ = gateway.content(gateway.queued[0])
    assert b"client.example" not in header
    assert CLIENT.encode() not in header


def test_a_login_that_is_no_address_needs_a_from_field() -> None:
    gateway = Gateway()
    gateway.table.rows["bob"] = LoginRow("9", "bob", "stored:secret")
    gateway.table.sender_aliases["9"] = frozenset({"bob@example.com"})
    client = gateway.connect("tls")
    client.ask(b"EHLO a\r\n" + sign_in("bob", "secret"))
    envelope = ENVELOPE.replace(b"demo", b"bob")
    assert send(client, b"Subject: x\r\n\r\n", envelope) == b"554 5.6.0 Message refused: a From field is missing"
    assert send(client, b"From: Bob@Example.com\r\n\r\n", envelope).startswith(b"250 ")


def test_senders_may_be_anybody_where_that_is_configured() -> None:
    gateway = Gateway()
    gateway.rules.senders = Senders(envelope="any", header_from="any")
    client = gateway.signed_in()
    assert send(client, b"From: boss@example.com\r\n\r\n", ENVELOPE.replace(b"demo", b"list-bounces")).startswith(b"250 ")
    assert send(client, b"From: a@example.com\r\nFrom: b@example.com\r\n\r\n").startswith(b"554 ")


def test_the_log_tells_which_credential_sent() -> None:
    gateway = Gateway()
    gateway.own("brand.example", DEMO.id)
    gateway.sign_in.credentials.create("shop@brand.example", "stored:secret")
    own = run(gateway.sign_in.credentials.find("shop@brand.example"))
    assert own is not None
    envelope = ENVELOPE.replace(b"demo@example.com", b"shop@brand.example")
    with capture_logs() as logs:
        for client in (gateway.connect("tls"), gateway.connect("tls")):
            client.ask(b"EHLO a\r\n" + sign_in("shop@brand.example", "secret"))
            send(client, envelope=envelope)
            send(gateway.signed_in())
            gateway.suspend()
    told = [(line["event"], line.get("credential")) for line in logs if line["event"] != "sign-in"]
    suspended = "refused: its account is suspended"
    assert told == [("accepted", own.id), ("accepted", None), (suspended, own.id), (suspended, None)]
    assert {line["account"] for line in logs} == {DEMO.id}


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_body_passes_byte_for_byte(octets: bytes, cut: int) -> None:
    """Without the octets that refuse a message or are normalised: those are in the dialogues."""
    body = octets.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    gateway = Gateway()
    message = b"Subject: x\r\n\r\n" + body
    client = gateway.signed_in()
    client.send(ENVELOPE + b"BDAT %d LAST\r\n" % len(message) + message[:cut])
    client.send(message[cut:])
    assert gateway.content(gateway.queued[0])[1] == body


def test_a_large_body_arrives_whole() -> None:
    gateway = Gateway()
    body = b"".join(b"%06d\r\n" % n for n in range(50_000))
    assert send(gateway.signed_in(), b"Subject: x\r\n\r\n" + body).startswith(b"250 ")
    assert isinstance(gateway.queued[0].body, Spooled)
    assert gateway.content(gateway.queued[0])[1] == body


# What is left behind


def large(gateway: Gateway) -> Client:
    """A client in the middle of a message that has reached the spool."""
    client = gateway.signed_in()
    client.ask(ENVELOPE + b"DATA\r\n\r\n" + b"x" * 70_000)
    assert gateway.bodies.growing
    return client


def test_a_lost_connection_leaves_nothing() -> None:
    gateway = Gateway()
    large(gateway).leave()
    assert not gateway.bodies.growing
    assert not gateway.queued


def test_a_refused_message_leaves_nothing() -> None:
    gateway = Gateway()
    send(gateway.signed_in(), b"From: boss@example.com\r\n\r\n" + b"x" * 70_000)
    assert not gateway.bodies.growing
    assert not gateway.bodies.files


def test_a_message_that_cannot_be_queued_leaves_its_body_to_the_sweep() -> None:
    """The commit's result may be unknown: then a row names the file."""
    gateway = Gateway()
    client = large(gateway)
    gateway.outbox.fail_with = Unavailable("connection lost")
    assert client.ask(b"\r\n.\r\n") == reply.SERVICE_ERROR.encode()
    assert not gateway.bodies.growing
    assert len(gateway.bodies.files) == 1


def test_a_new_transaction_drops_what_an_error_left_of_the_last() -> None:
    """The session ends a transaction at a refused chunk without a word to us."""
    gateway = Gateway()
    submission = Submission(gateway.rules, Peer(CLIENT, CLIENT, CLIENT))
    run(submission.decide(events.Authenticate("PLAIN", DEMO.login, b"secret")))
    mail = events.MailFrom(address.parse(DEMO.login))
    for event in (mail, events.RcptTo(address.parse("to@example.net")), events.BodyStart(True)):
        run(submission.decide(event))
    run(submission.decide(events.BodyPart(b"\r\n" + b"x" * 70_000)))
    assert gateway.bodies.growing
    run(submission.decide(mail))
    assert not gateway.bodies.growing


# Domains


def test_sender_and_authors_of_one_domain_are_one_question_at_the_end() -> None:
    gateway = Gateway()
    gateway.own("shop.example", DEMO.id)
    asked = gateway.sign_in.credentials.domains.asked
    client = gateway.signed_in()
    client.ask(b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<to@example.net>\r\n")
    assert asked == ["shop.example"]
    client.ask(bdat(b"From: b@shop.example, c@SHOP.example\r\nSender: d@shop.example\r\n\r\n"))
    assert asked == ["shop.example"] * 2
    assert len(gateway.queued) == 1


def test_a_domain_of_the_sender_says_nothing_about_another_of_the_author() -> None:
    gateway = Gateway()
    gateway.own("shop.example", DEMO.id)
    client = gateway.signed_in()
    client.ask(b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<to@example.net>\r\n")
    assert client.ask(bdat(b"From: b@other.example\r\n\r\n")) == reply.not_your_header("From").encode()
    assert not gateway.queued


def test_a_domain_that_is_lost_before_the_end_counts_there() -> None:
    gateway = Gateway()
    gateway.own("shop.example", DEMO.id)
    client = gateway.signed_in()
    client.ask(b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<to@example.net>\r\n")
    gateway.own("shop.example", "2")
    assert client.ask(bdat(b"From: a@shop.example\r\n\r\n")) == reply.NOT_YOUR_SENDER.encode()
    assert not gateway.queued


# Figures and logs


def test_figures_of_an_accepted_message() -> None:
    gateway = Gateway()
    send(gateway.signed_in(), envelope=ENVELOPE + b"RCPT TO:<blind@example.net>\r\nRCPT TO:<blind2@example.net>\r\n")
    assert figure(gateway, "messages_total", result="accepted") == 1
    assert figure(gateway, "recipients_total", field="to") == 1
    assert figure(gateway, "recipients_total", field="bcc") == 2
    assert figure(gateway, "message_bytes_sum") == gateway.queued[0].size
    assert figure(gateway, "commands_total", verb="BDAT", reply_class="2xx") == 1
    assert figure(gateway, "auth_attempts_total", mechanism="PLAIN", result="ok") == 1


TROUBLE: dict[str, tuple[str, Callable[[Gateway], object], bytes]] = {
    "content": ("refused", lambda gateway: None, b"X: y\r\nno field\r\n"),
    "password changed": ("refused", lambda gateway: gateway.table.change(DEMO.login, stored="stored:new"), b"\r\n"),
    "store away": ("unavailable", lambda gateway: setattr(gateway.outbox, "fail_with", Unavailable("away")), b"\r\n"),
    "bug": ("unavailable", lambda gateway: setattr(gateway.outbox, "fail_with", RuntimeError("bug")), b"\r\n"),
}


@pytest.mark.parametrize(("result", "happens", "message"), TROUBLE.values(), ids=TROUBLE)
def test_figures_of_a_message_that_is_not_accepted(result: str, happens: Callable[[Gateway], object], message: bytes) -> None:
    gateway = Gateway()
    client = gateway.signed_in()
    client.send(ENVELOPE)
    happens(gateway)
    client.send(bdat(message))
    assert figure(gateway, "messages_total", result=result) == 1
    assert figure(gateway, "messages_total", result="accepted") == 0
    assert not gateway.queued


def test_logs_and_figures_hold_no_secret_and_no_address() -> None:
    gateway = Gateway()
    with capture_logs() as logs:
        client = gateway.signed_in()
        for octets in (ENVELOPE, bdat(b"To: to@example.net\r\nBcc: b@example.net\r\n\r\nprivate\r\n")):
            client.send(octets)
        gateway.table.rows[DEMO.login] = replace(DEMO, stored="stored:changed")
        client.send(ENVELOPE)
        other = gateway.connect("tls")
        other.send(b"EHLO a\r\n" + sign_in("demo@example.com", "hunter2") + sign_in("nobody@example.org", "hunter2"))
        gateway.table.away = True
        other.send(sign_in("demo@example.com", "hunter2"))
    labels = " ".join(
        value for family in gateway.registry.collect() for sample in family.samples for value in sample.labels.values()
    )
    assert [line["event"] for line in logs].count("sign-in") == 4
    for word in ("secret", "hunter2", "stored:", "example.net", "example.com", "example.org", "private", "AGRlbW9A"):
        assert word not in str(logs)
        assert word not in labels


def test_thousands_of_recipients_over_the_limit_cost_one_look_and_one_line() -> None:
    gateway = Gateway(daily_recipients=1, recipients=1000)
    client = gateway.signed_in()
    looks = gateway.ledger.looks
    flood = b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(50))
    with capture_logs() as logs:
        replies = client.ask(ENVELOPE + flood).splitlines()
        assert [line[:9] for line in replies] == [b"250 2.1.0", b"250 2.1.5"] + [b"450 4.7.1"] * 50
        assert gateway.ledger.looks - looks == 3  # at MAIL, and two at the first recipient past the limit
        assert len(logs) == 1
        client.ask(b"RSET\r\n" + ENVELOPE + flood)
    assert len(logs) == 2
    assert figure(gateway, "quota_refusals_total", action="defer") == 100
    assert gateway.ledger.refusals == {DEMO.id: 100}


def test_a_limit_that_rises_meanwhile_counts_for_the_recipients_after_it() -> None:
    gateway = Gateway(daily_recipients=1)
    client = gateway.signed_in()
    assert client.ask(ENVELOPE + b"RCPT TO:<b@example.net>\r\n").splitlines()[-1].startswith(b"450 ")
    gateway.limit(daily_recipients=2)
    assert client.ask(b"RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\n").splitlines()[0].startswith(b"250 ")
