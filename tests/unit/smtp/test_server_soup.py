"""ServerSession and whatever may come, in whatever pieces: hypothesis writes the conversations."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import reply
from gateway.smtp.commands import MAX_LINE, VERBS, SessionSettings
from tests.unit.smtp.pieces import BODY_TOKENS, cuts
from tests.unit.smtp.talk import AUTH, ENVELOPE, SIGN_IN, codes, nobody_signs_in, talk

SOUP = [
    b"EHLO client.example\r\n",
    AUTH,
    b"AUTH LOGIN\r\n",
    b"AUTH LOGIN ZGVtbw==\r\n",
    b"c2VjcmV0\r\n",
    b"*\r\n",
    b"MAIL FROM:<demo@example.com>\r\n",
    b"MAIL FROM:<> SMTPUTF8\r\n",
    b"RCPT TO:<to@example.net>\r\n",
    b"RCPT TO:<bad>\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"BDAT 4\r\nab\r\n",
    b"BDAT 5 LAST\r\n.\r\n..",
    b"BDAT 0 LAST\r\n",
    b"BDAT 1\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY\r\n",
    b"NONSENSE\r\n",
    ENVELOPE,
    SIGN_IN,
    b"x" * 700 + b"\r\n",
    b"y" * (MAX_LINE + 10) + b"\r\n",
]
RARE = [b"QUIT\r\n", b"BDAT x\r\n", b"NOOP\n", b"NO\0OP\r\n"]

soups = st.lists(st.sampled_from(SOUP) | st.sampled_from(BODY_TOKENS) | st.sampled_from(RARE), max_size=25).map(b"".join)
signed_in_soups = soups.map(lambda soup: SIGN_IN + ENVELOPE + soup)


@given(cuts(soups | signed_in_soups))
def test_pieces_make_no_difference(octets: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = octets
    one, other = talk(whole), talk(*pieces)
    assert one.events == other.events
    assert one.said == other.said
    assert one.counted == other.counted


@given(st.lists(st.sampled_from(SOUP + RARE) | st.binary(max_size=300), max_size=30), st.booleans())
def test_memory_is_bounded(pieces: list[bytes], signed_in: bool) -> None:
    found = talk(SIGN_IN + ENVELOPE if signed_in else b"")
    for piece in pieces:
        found.send(piece)
        assert found.session.held <= MAX_LINE


@given(soups)
def test_nobody_sends_without_signing_in(soup: bytes) -> None:
    found = talk(b"EHLO client.example\r\n" + soup, decide=nobody_signs_in)
    assert not {"MailFrom", "RcptTo", "BodyStart", "BodyPart", "ChunkEnd", "BodyEnd"} & set(found.kinds())
    assert not found.session.signed_in


@given(soups)
def test_nobody_signs_in_without_tls(soup: bytes) -> None:
    clear = SessionSettings("gateway.example", starttls=True)
    found = talk(b"EHLO client.example\r\n" + soup, settings=clear)
    assert set(found.kinds()) <= {"Hello", "Reset"}


LINES = [
    line
    for line in (*SOUP, b"AUTH PLAIN AAA\r\n", b"\r\n", b"MAIL\r\n", b"HELP\r\n")
    if line.count(b"\r\n") == 1 and b"BDAT" not in line
]
lines = st.lists(st.sampled_from([line for line in LINES if line != b"DATA\r\n"]), max_size=15)


@given(lines)
def test_one_reply_to_a_line(sent: list[bytes]) -> None:
    """Responses to a challenge are lines, too. A session that ends has said why, and no more."""
    said = talk(SIGN_IN + ENVELOPE).send(b"".join(sent))
    assert len(said) == len(sent)


@given(soups | signed_in_soups)
def test_what_is_counted_is_what_was_said(soup: bytes) -> None:
    """Each reply once but for greeting, challenges and the last word; labels from the closed set."""
    found = talk(soup)
    said = codes(found.said)
    assert said[0] == 220
    assert [code for code in said[1:] if code not in (334, 421)] == [code for _, code in found.counted if code != 421]
    assert {verb for verb, _ in found.counted} <= VERBS | {"UNKNOWN"}


@given(soups | signed_in_soups)
def test_refusing_everything_raises_nothing(soup: bytes) -> None:
    found = talk(soup, decide=lambda event: reply.SERVICE_ERROR)
    assert "BodyEnd" not in found.kinds()
