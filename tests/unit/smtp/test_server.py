"""ServerSession alone, with a decider instead of policy; dialogues (tests/dialogues) show the words."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from gateway import reply
from gateway.reply import Reply
from gateway.smtp import events
from gateway.smtp.commands import MAX_LINE, RULES, SessionSettings
from gateway.smtp.events import Event
from gateway.smtp.framing import MAX_DROPPED
from gateway.smtp.server import ServerSession
from tests.unit.smtp.talk import AUTH, ENVELOPE, SETTINGS, SIGN_IN, Decide, Talk, codes, nobody_signs_in, talk, yes


def test_every_row_of_the_table_can_run() -> None:
    for verb, rule in RULES.items():
        assert rule.run == "" or callable(getattr(ServerSession, rule.run)), verb


# Slow decisions


def test_nothing_is_read_while_a_decision_is_out() -> None:
    session = Talk().session
    session.receive_data(b"EHLO a\r\nNOOP\r\nNONSENSE\r\nEHLO b\r\n")
    first = session.next_event()
    assert isinstance(first, events.Hello)
    assert session.next_event() is None
    session.receive_data(b"NOOP\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b""
    session.answer(reply.OK)
    second = session.next_event()
    assert isinstance(second, events.Hello)
    assert second.name == "b"
    assert codes(session.data_to_send()) == [250, 250, 500]


def test_what_arrives_during_a_decision_is_not_lost() -> None:
    session = Talk().session
    session.receive_data(b"EHLO a\r\nNO")
    session.next_event()
    session.receive_data(b"OP\r\nQUIT\r\n")
    session.answer(reply.OK)
    assert session.next_event() is None
    assert codes(session.data_to_send()) == [250, 250, 221]


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    session = Talk().session
    session.receive_data(SIGN_IN)
    session.next_event()
    session.close(reply.SHUTTING_DOWN)
    session.answer(reply.OK)
    session.close(reply.IDLE)
    assert codes(session.data_to_send()) == [421]
    assert session.closing
    session.receive_data(b"NOOP\r\n")
    assert (session.held, session.next_event()) == (0, None)


# Messages


def message(data: bytes) -> tuple[events.BodyEnd, bytes]:
    found = talk(SIGN_IN + ENVELOPE + data)
    end = found.events[-1]
    assert isinstance(end, events.BodyEnd)
    return end, b"".join(event.data for event in found.events if isinstance(event, events.BodyPart))


MESSAGES = {
    b"DATA\r\nx\r\n.\r\n": (events.BodyEnd(3, False, False, False, False), b"x\r\n"),
    b"DATA\r\n.\r\n": (events.BodyEnd(0, False, False, False, False), b""),
    b"DATA\r\n\n.\r\n\r\n.\r\n": (events.BodyEnd(7, False, True, False, False), b"\r\n.\r\n\r\n"),
    b"DATA\r\n\r\0\x80\r\n.\r\n": (events.BodyEnd(5, True, False, True, True), b"\r\0\x80\r\n"),
    b"BDAT 1 LAST\r\nx": (events.BodyEnd(3, False, False, False, False), b"x\r\n"),
    b"BDAT 2\r\nx\rBDAT 1 LAST\r\n\n": (events.BodyEnd(3, False, False, False, False), b"x\r\n"),
    b"BDAT 1\r\n\rBDAT 0 LAST\r\n": (events.BodyEnd(3, True, False, False, False), b"\r\r\n"),
}


@pytest.mark.parametrize(("data", "end"), MESSAGES.items(), ids=map(repr, MESSAGES))
def test_messages(data: bytes, end: tuple[events.BodyEnd, bytes]) -> None:
    assert message(data) == end


def test_a_large_body_comes_in_parts_no_larger_than_what_is_read() -> None:
    found = talk(SIGN_IN + ENVELOPE + b"DATA\r\n")
    largest = 0

    def decide(event: Event) -> Reply | None:
        nonlocal largest
        if isinstance(event, events.BodyPart):
            largest = max(largest, len(event.data))
        return yes(event)

    found.decide = decide
    for _ in range(50):
        found.send(b"0123456789" * 400 + b"\r\n")
        assert found.session.held <= 4
    assert 0 < largest <= 4004


def refusing(kind: type[Event]) -> Decide:
    return lambda event: reply.SERVICE_ERROR if isinstance(event, kind) else yes(event)


def test_data_refused_at_its_start_can_be_tried_again() -> None:
    found = talk(SIGN_IN + ENVELOPE, decide=refusing(events.BodyStart))
    assert found.send(b"DATA\r\nNOOP\r\n") == [451, 250]
    found.decide = yes
    assert found.send(b"DATA\r\nx\r\n.\r\n") == [354, 250]


def test_a_message_whose_first_chunk_was_refused_is_not_begun_by_its_second() -> None:
    found = talk(SIGN_IN + ENVELOPE, decide=refusing(events.BodyStart))
    assert found.send(b"BDAT 6\r\nQUIT\r\n") == [451]
    found.decide = yes
    assert found.send(b"BDAT 6 LAST\r\nQUIT\r\n" + ENVELOPE) == [503, 250, 250]
    assert "BodyEnd" not in found.kinds()


def test_a_refused_chunk_ends_its_message() -> None:
    found = talk(SIGN_IN + ENVELOPE, decide=refusing(events.ChunkEnd))
    assert found.send(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == [451, 503, 250]


@pytest.mark.parametrize("kind", [events.MailFrom, events.RcptTo, events.BodyEnd])
def test_a_refusal_leaves_the_session_usable(kind: type[Event]) -> None:
    found = talk(SIGN_IN, decide=refusing(kind))
    assert 451 in found.send(ENVELOPE + b"BDAT 2 LAST\r\n\r\n")
    found.decide = yes
    assert found.send(b"RSET\r\n" + ENVELOPE + b"BDAT 2 LAST\r\n\r\n") == [250, 250, 250, 250]


# Where a session stands


def test_in_transaction_and_in_body() -> None:
    found = talk(SIGN_IN)
    session = found.session
    stands = [(session.in_transaction, session.in_body)]
    for octets in (b"MAIL FROM:<>\r\n", b"RCPT TO:<to@example.net>\r\n", b"DATA\r\n", b"x", b"\r\n.\r\n"):
        found.send(octets)
        stands.append((session.in_transaction, session.in_body))
    assert stands == [(False, False), (True, False), (True, False), (True, True), (True, True), (False, False)]


def test_between_two_chunks_a_command_is_awaited() -> None:
    found = talk(SIGN_IN + ENVELOPE + b"BDAT 2\r\n\r")
    assert found.session.in_body
    found.send(b"\n")
    assert (found.session.in_transaction, found.session.in_body) == (True, False)


def test_starttls_starts_over() -> None:
    found = Talk(SessionSettings("gateway.example", starttls=True, plaintext_auth=True))
    assert found.send(SIGN_IN + b"STARTTLS\r\n" + ENVELOPE) == [250, 235, 220]
    assert (found.session.tls, found.session.signed_in, found.session.held) == (True, False, 0)
    assert found.send(b"MAIL FROM:<>\r\nEHLO a\r\nMAIL FROM:<>\r\n") == [503, 250, 530]


def test_nothing_in_clear_is_left_once_tls_is_asked_for() -> None:
    """Whatever the driver does until TLS is there (CVE-2011-0411)."""
    session = Talk(SessionSettings("gateway.example", starttls=True)).session
    session.receive_data(b"EHLO a\r\nSTARTTLS\r\nNOOP\r\nEHLO b\r\n")
    session.next_event()
    session.answer(reply.OK)
    assert isinstance(session.next_event(), events.StartTls)
    assert (session.held, session.next_event()) == (0, None)
    assert codes(session.data_to_send()) == [250, 220]


# Limits


def test_messages_a_session() -> None:
    found = Talk(SessionSettings("g", starttls=False, implicit_tls=True, messages=2))
    one = ENVELOPE + b"BDAT 2 LAST\r\n\r\n"
    assert found.send(SIGN_IN + one + one + one) == [250, 235, 250, 250, 250, 250, 250, 250, 421]
    assert found.session.closing


def test_refused_messages_are_not_counted_as_messages() -> None:
    settings = SessionSettings("g", starttls=False, implicit_tls=True, messages=1)
    found = talk(SIGN_IN, settings=settings, decide=refusing(events.BodyEnd))
    found.send((ENVELOPE + b"BDAT 2 LAST\r\n\r\n") * 3)
    assert not found.session.closing


def test_errors_a_session() -> None:
    found = Talk(SessionSettings("g", starttls=False, implicit_tls=True, errors=3))
    assert found.send(b"X\r\nNOOP\r\nX\r\nX\r\nNOOP\r\n") == [500, 250, 500, 500, 421]
    assert found.session.closing


def test_failed_sign_ins_a_session() -> None:
    settings = SessionSettings("g", starttls=False, implicit_tls=True, auth_failures=2)
    found = talk(settings=settings, decide=nobody_signs_in)
    assert found.send(b"EHLO a\r\n" + AUTH + AUTH + AUTH) == [250, 535, 535, 421]


def test_a_failed_sign_in_is_not_an_error_besides() -> None:
    settings = SessionSettings("g", starttls=False, implicit_tls=True, errors=2, auth_failures=9)
    found = talk(settings=settings, decide=nobody_signs_in)
    assert found.send(b"EHLO a\r\n" + AUTH * 3 + b"X\r\n") == [250, 535, 535, 535, 500]
    assert not found.session.closing


def test_somebody_else_is_a_failed_sign_in() -> None:
    other = b"AUTH PLAIN " + b64encode(b"boss\0demo\0secret") + b"\r\n"
    found = talk(b"EHLO a\r\n", decide=nobody_signs_in)
    assert found.send(other * 3) == [535, 535, 535, 421]


def test_starttls_does_not_forget_failures() -> None:
    settings = SessionSettings("g", starttls=True, plaintext_auth=True, auth_failures=2)
    found = talk(settings=settings, decide=nobody_signs_in)
    assert found.send(b"EHLO a\r\n" + AUTH + b"STARTTLS\r\n") == [250, 535, 220]
    assert found.send(b"EHLO a\r\n" + AUTH) == [250, 535, 421]


def test_a_message_pays_for_its_junk() -> None:
    """Clients that send RSET between messages go on for ever; those that do nothing else do not."""
    found = talk(SIGN_IN)
    for _ in range(5):
        found.send(b"RSET\r\n" * 90 + ENVELOPE + b"BDAT 2 LAST\r\n\r\n")
    assert not found.session.closing
    found.send(b"RSET\r\n" * 121)
    assert found.session.closing


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "NOOP", "EHLO", "AUTH", "BDAT"])
def test_each_command_has_its_length(verb: str) -> None:
    """A line of the limit is read, whatever it says; one octet more is not."""
    limit = RULES[verb].limit
    found = talk(SIGN_IN)
    too_long = found.send(verb.encode() + b" " + b"0" * (limit - len(verb) - 2) + b"\r\n")
    assert too_long == ([501] if verb == "BDAT" else [500])
    assert found.session.closing == (verb == "BDAT")
    fits = talk(SIGN_IN).send(verb.encode() + b" " + b"0" * (limit - len(verb) - 3) + b"\r\n")
    assert fits != [500]


def test_a_response_to_a_challenge_has_its_length() -> None:
    found = talk(b"EHLO a\r\nAUTH PLAIN\r\n")
    assert found.send(b"A" * (MAX_LINE - 1) + b"\r\n", b"NOOP\r\n") == [500, 250]
    longest = b64encode(b"\0demo\0" + b"x" * 9000)
    found = talk(b"EHLO a\r\nAUTH PLAIN\r\n")
    assert found.send(longest + b"\r\n") == [235]


# What is in the events


def test_the_events_of_a_mail() -> None:
    found = talk(
        SIGN_IN,
        b"MAIL FROM:<a@example.com> SIZE=9 RET=HDRS ENVID=e BODY=8BITMIME SMTPUTF8\r\n",
        b"RCPT TO:<b@example.net> NOTIFY=NEVER\r\n",
    )
    hello, sign_in, mail, rcpt = found.events
    keywords = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "AUTH PLAIN LOGIN")
    assert hello == events.Hello("client.example", True, keywords)
    assert sign_in == events.Authenticate("PLAIN", "demo", b"secret")
    assert isinstance(mail, events.MailFrom)
    assert (str(mail.sender), mail.size, mail.ret, mail.envid) == ("a@example.com", 9, "HDRS", "e")
    assert mail.eight_bit
    assert mail.smtputf8
    assert isinstance(rcpt, events.RcptTo)
    assert (str(rcpt.recipient), rcpt.notify) == ("b@example.net", "NEVER")


def test_a_password_is_not_in_what_is_printed() -> None:
    found = talk(SIGN_IN)
    assert not any("secret" in repr(event) for event in found.events)
    assert "secret" not in str(Counter(found.counted))


def verbs(pieces: Iterable[bytes]) -> list[str]:
    return [verb for verb, _ in talk(*pieces).counted]


def test_replies_are_counted_under_their_command() -> None:
    assert verbs([SIGN_IN + ENVELOPE, b"DATA\r\n.\r\n", b"BDAT 1\r\nx", b"quit\r\n"]) == [
        "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DATA", "BDAT", "QUIT",
    ]  # fmt: skip
    assert verbs([b"NONSENSE\r\n", b"y" * 20_000 + b"\r\n", b"NOOP\n"]) == ["UNKNOWN", "UNKNOWN", "UNKNOWN"]


# Input without an end


def test_a_command_line_without_an_end_is_cut() -> None:
    found = Talk(SETTINGS)
    session = found.session
    sent = 0
    while not session.closing and sent < 10 * MAX_DROPPED:
        session.receive_data(b"x" * 60_000)
        sent += 60_000
        assert session.next_event() is None
        assert session.held <= MAX_LINE
    assert sent <= MAX_DROPPED + 2 * 60_000
    assert session.data_to_send().splitlines()[-1].startswith(b"421 4.7.0 Line too long")


@pytest.mark.parametrize(
    ("start", "octets"), [(b"", 2 << 20), (b"EHLO c\r\n", 10**19), (SIGN_IN, 201), (SIGN_IN + ENVELOPE, 10**19)]
)
def test_an_absurd_chunk_is_not_even_read_over(start: bytes, octets: int) -> None:
    settings = replace(SETTINGS, octets=200)
    found = talk(start + b"BDAT %d LAST\r\nQUIT\r\n" % octets, settings=settings)
    assert codes(found.said)[-1] == 552
    assert found.session.closing


def test_a_message_far_past_the_limit_is_cut() -> None:
    settings = replace(SETTINGS, octets=200)
    found = talk(SIGN_IN + ENVELOPE + b"DATA\r\n" + b"x" * 300, settings=settings)
    assert codes(found.said)[-1] == 552
    assert found.session.closing
    small = talk(SIGN_IN + ENVELOPE + b"DATA\r\n" + b"x" * 190 + b"\r\n.\r\n", settings=settings)
    assert codes(small.said)[-1] == 250
