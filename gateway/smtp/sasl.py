"""PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login): the exchange so far, to a challenge or credentials.

A mechanism is a function of the responses so far, so it has no state of its own (the idea is pysasl's).
"""

import binascii
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class Malformed(Exception):
    """The response does not have the form of its mechanism."""


@dataclass(frozen=True, slots=True)
class Challenge:
    text: str  # in base64, as it goes on the wire


@dataclass(frozen=True, slots=True)
class SignIn:
    login: str
    password: bytes = field(repr=False)


Mechanism = Callable[[Sequence[bytes]], Challenge | SignIn]


def decode(response: bytes) -> bytes:
    """Strict base64: nothing but its alphabet, exact padding, no stray bits. "=" is the empty response (RFC 4954).

    Raises Malformed.
    """
    if response == b"=":
        return b""
    try:
        raw = binascii.a2b_base64(response, strict_mode=True)
    except binascii.Error:
        raise Malformed from None
    if b64encode(raw) != response:
        raise Malformed
    return raw


def plain(responses: Sequence[bytes]) -> Challenge | SignIn:
    """message = [authzid] NUL authcid NUL passwd"""
    if not responses:
        return Challenge("")
    parts = responses[0].split(b"\0")
    if len(parts) != 3:
        raise Malformed
    authzid, authcid, password = parts
    if authzid and authzid.lower() != authcid.lower():
        return SignIn("", password)  # nobody may act for another: decided like any login that does not exist
    return SignIn(_text(authcid), password)


def login(responses: Sequence[bytes]) -> Challenge | SignIn:
    """Two questions; a client may answer the first one with the command already."""
    match responses:
        case []:
            return Challenge("VXNlcm5hbWU6")  # Username:
        case [_]:
            return Challenge("UGFzc3dvcmQ6")  # Password:
        case [name, password]:
            if b"\0" in name or b"\0" in password:  # RFC 4616 section 2 has none in either, so no account can have it
                raise Malformed
            return SignIn(_text(name), password)
        case _:
            raise Malformed


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


MECHANISMS: dict[str, Mechanism] = {"PLAIN": plain, "LOGIN": login}
