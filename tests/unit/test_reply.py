"""Replies on the wire: form, length, and that basic and enhanced code say the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import reply
from gateway.reply import Reply

CONSTANTS = {name: value for name, value in vars(reply).items() if isinstance(value, Reply)}
MADE = {
    "too_many_recipients": reply.too_many_recipients(100),
    "too_large": reply.too_large(26214400),
    "too_large, size known": reply.too_large(26214400, 10**12),
    "accepted": reply.accepted("0123456789abcdef"),
    "chunk_accepted": reply.chunk_accepted(2**40),
    "bad_content": reply.bad_content("two From fields"),
    "not_your_header": reply.not_your_header("From"),
    "greeting": reply.greeting("smtp.example.com"),
    "hello": reply.hello("smtp.example.com"),
    "extensions": reply.extensions("smtp.example.com", ["PIPELINING", "SIZE 26214400", "AUTH PLAIN LOGIN"]),
    "challenge": reply.challenge("VXNlcm5hbWU6"),
}
ALL = CONSTANTS | MADE
# RFC 5321 section 4.2.3, RFC 4954 section 6, RFC 6531 via 553 and 555
CODES = {214, 220, 221, 235, 250, 252, 334, 354}
CODES |= {421, 450, 451, 452, 454}
CODES |= {500, 501, 502, 503, 504, 530, 535, 538, 550, 552, 553, 554, 555}
# RFC 2034 section 4: no enhanced code in a greeting, EHLO or HELO answer; RFC 4954 and RFC 5321: none before 334 and 354.
BARE = {"greeting", "hello", "extensions", "challenge", "GO_AHEAD"}


@pytest.mark.parametrize("name", ALL)
def test_codes_agree(name: str) -> None:
    found = ALL[name]
    assert found.code in CODES
    if name in BARE:
        assert found.enhanced == ""
    else:
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", found.enhanced)
        assert found.enhanced[0] == str(found.code)[0]


@pytest.mark.parametrize("name", ALL)
def test_lines_on_the_wire(name: str) -> None:
    """At most 512 octets a line with its CRLF (RFC 5321 section 4.5.3.1.5), printable ASCII, and code-hyphen until the last."""
    found = ALL[name]
    *lines, rest = found.encode().split(b"\r\n")
    assert rest == b""
    assert len(lines) == len(found.lines) >= 1
    for line in lines:
        assert re.fullmatch(rb"\d{3}[ -][ -~]{1,506}", line)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]


@pytest.mark.parametrize("name", ALL)
def test_only_what_ends_a_session_closes_it(name: str) -> None:
    """221 and 421 end the session, and so do the refusals after which commands cannot be told from data."""
    assert ALL[name].close == (ALL[name].code in {221, 421} or name in {"BAD_CHUNK_SIZE", "ENDLESS_MESSAGE"})


def test_each_text_is_said_once() -> None:
    """Two constants that read alike would be one case under two names."""
    said = [(value.code, value.enhanced, value.lines) for value in CONSTANTS.values()]
    assert len(set(said)) == len(said)


# The replies that clients rely on.
CONTRACT = [
    ("TLS_FOR_AUTH", b"538 5.7.11 "),
    ("SIGN_IN_FIRST", b"530 5.7.0 "),
    ("TLS_FIRST", b"530 5.7.0 "),
    ("WRONG_LOGIN", b"535 5.7.8 "),
    ("AUTH_UNAVAILABLE", b"454 4.7.0 "),
    ("AUTH_BUSY", b"454 4.7.0 "),
    ("NO_LONGER_VALID", b"421 4.7.0 Your sign-in is no longer valid; sign in again\r\n"),
    ("too_large", b"552 5.3.4 Message is too large: the limit is 26214400 octets (25 MiB)\r\n"),
    ("NOT_YOUR_SENDER", b"553 5.7.1 "),
    ("BAD_SENDER", b"553 5.1.7 "),
    ("BAD_RECIPIENT", b"553 5.1.3 "),
    ("too_many_recipients", b"452 4.5.3 Too many recipients: at most 100 a message\r\n"),
    ("SERVICE_ERROR", b"451 4.3.0 "),
    ("STORE_FULL", b"452 4.3.1 "),
    ("IDLE", b"421 4.4.2 "),
    ("TOO_MANY_ERRORS", b"421 4.7.0 "),
    ("SHUTTING_DOWN", b"421 4.3.2 "),
    ("bad_content", b"554 5.6.0 Message refused: two From fields\r\n"),
    ("BDAT_REFUSED", b"503 5.5.1 "),
    ("BARE_LINE_END", b"421 4.5.2 "),
    ("UNKNOWN_PARAMETER", b"555 5.5.4 "),
    ("AUTH_CANCELLED", b"501 "),
    ("extensions", b"250-smtp.example.com\r\n250-PIPELINING\r\n250-SIZE 26214400\r\n250 AUTH PLAIN LOGIN\r\n"),
    ("challenge", b"334 VXNlcm5hbWU6\r\n"),
    ("GO_AHEAD", b"354 "),
]


@pytest.mark.parametrize(("name", "start"), CONTRACT)
def test_contract(name: str, start: bytes) -> None:
    assert ALL[name].encode().startswith(start)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (26214400, "(25 MiB)"),
        (104858, "(0.1 MiB)"),
        (104857, "(102.4 KiB)"),
        (1048576, "(1 MiB)"),
        (1024, "(1 KiB)"),
        (512, "is 512 octets"),
    ],
)
def test_limits_are_named_in_units_people_read(limit: int, said: str) -> None:
    assert reply.too_large(limit).text.endswith(said)


@given(st.integers(200, 599), st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80), min_size=1))
def test_every_line_carries_both_codes(code: int, lines: list[str]) -> None:
    enhanced = f"{code // 100}.0.0"
    wire = Reply(code, enhanced, tuple(lines)).encode().decode().split("\r\n")
    assert [line[4:] for line in wire[:-1]] == [f"{enhanced} {line}" for line in lines]
    assert {line[:3] for line in wire[:-1]} == {str(code)}
    assert [line[3] for line in wire[:-1]] == ["-"] * (len(lines) - 1) + [" "]


@pytest.mark.parametrize(("code", "positive"), [(250, True), (354, True), (399, True), (400, False), (550, False)])
def test_positive(code: int, positive: bool) -> None:
    assert Reply(code, "", ("x",)).positive is positive
