"""PLAIN and LOGIN as functions of the exchange so far, and base64 that has one reading only."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.sasl import MECHANISMS, Challenge, Malformed, SignIn, decode, login, plain


@given(st.binary(max_size=200))
def test_base64_comes_back(octets: bytes) -> None:
    assert decode(b64encode(octets)) == octets


@given(st.binary(max_size=30) | st.text("ABab09+/=\r\n -_*", max_size=20).map(str.encode))
def test_base64_has_one_spelling(response: bytes) -> None:
    try:
        octets = decode(response)
    except Malformed:
        return
    assert response == b64encode(octets) or (response, octets) == (b"=", b"")


# Not padded, padded too much, padding inside, other alphabets, white space, stray bits in the last character
@pytest.mark.parametrize(
    "response", [b"YQ", b"YQ=", b"YQ===", b"Y=Q=", b"YQ==YQ==", b"_-_-", b"YQ==\n", b" YQ==", b"YR==", b"*"]
)
def test_base64_is_strict(response: bytes) -> None:
    with pytest.raises(Malformed):
        decode(response)


def test_equals_sign_is_the_empty_response() -> None:
    assert decode(b"=") == b""


def test_challenges() -> None:
    assert plain([]) == Challenge("")
    assert login([]) == Challenge(b64encode(b"Username:").decode())
    assert login([b"demo"]) == Challenge(b64encode(b"Password:").decode())


PLAIN = {
    b"\0demo\0secret": ("demo", b"secret"),
    b"demo\0demo\0secret": ("demo", b"secret"),
    b"Demo@Example.com\0demo@example.com\0secret": ("demo@example.com", b"secret"),
    b"\0\0": ("", b""),
    b"\0demo\0": ("demo", b""),
    "\0jörg\0pässword".encode(): ("jörg", "pässword".encode()),
    b"\0a\xff\0\xfe": ("a\\xff", b"\xfe"),
    b"\0demo\0 secret\r\n": ("demo", b" secret\r\n"),
}


@pytest.mark.parametrize(
    "responses", [[b"de\0mo", b"secret"], [b"demo", b"sec\0ret"], [b"\0", b"x"], [b"x", b"\0"], [b"\0demo\0secret", b""]]
)
def test_login_has_no_nul(responses: list[bytes]) -> None:
    with pytest.raises(Malformed):
        login(responses)


@pytest.mark.parametrize(("message", "found"), PLAIN.items(), ids=map(repr, PLAIN))
def test_plain(message: bytes, found: tuple[str, bytes]) -> None:
    assert plain([message]) == SignIn(*found)


@pytest.mark.parametrize("message", [b"", b"\0", b"demo", b"demo\0secret", b"\0demo\0secret\0", b"\0\0\0\0"])
def test_plain_has_three_parts(message: bytes) -> None:
    with pytest.raises(Malformed):
        plain([message])


@pytest.mark.parametrize("message", [b"admin\0demo\0secret", b"demo@example.com\0demo\0secret", "Ä\0ä\0secret".encode()])
def test_plain_for_somebody_else(message: bytes) -> None:
    """It becomes a login that nobody has, and is refused like one: as late, and counted."""
    assert plain([message]) == SignIn("", b"secret")


def test_login() -> None:
    assert login([b"demo", b"secret"]) == SignIn("demo", b"secret")
    with pytest.raises(Malformed):
        login([b"demo", b"secret", b"more"])


@given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.binary(max_size=40), max_size=3))
def test_whatever_comes_is_decided(mechanism: str, responses: list[bytes]) -> None:
    try:
        step = MECHANISMS[mechanism](responses)
    except Malformed:
        return
    assert isinstance(step, Challenge | SignIn)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SignIn("demo", b"secret"))
