"""The passwords of domains' SMTP users: how one is made or judged, and the forms that they are stored in.

One that we make has more bits than anybody can try, so SHA-256 keeps it as well as a slow hash does, and its sign-ins wait
for no hash. One that a person chose gets bcrypt.

The form of a made one is no kind that `gateway.accounts.schemes` reads, and only credentials are looked at here. So a row of
the product's table that has it, however it came there, is a hash of an unknown kind: its kind is quick to guess at.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

from gateway.accounts import schemes
from gateway.errors import Conflict

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # none is taken for another; all of one case, for small keyboards
_LENGTH = 26  # characters of 31 kinds: 128.8 bits
_OCTETS = 32  # of chance: so many more than needed that a remainder favours no character
MIN_CHOSEN = 8  # characters

RANDOM_PREFIX = "{gateway-sha256}"
_RANDOM = re.compile(re.escape(RANDOM_PREFIX) + "[0-9a-f]{64}")
# As Django stores it: plain bcrypt is checked with the pepper of the product's table, and this is not
_CHOSEN_PREFIX = "bcrypt$"


def new_password(random_bytes: Callable[[int], bytes]) -> str:
    """A password for a program to keep, in one word that a double click copies. `random_bytes` as `secrets.token_bytes`."""
    number = int.from_bytes(random_bytes(_OCTETS), "big")
    letters = []
    for _ in range(_LENGTH):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)


def check_chosen(password: str) -> None:
    """Whether a person may choose it. Raises Conflict, which says why not and nothing of the password."""
    if not password.isprintable():
        raise Conflict("the password has a control character or an invisible one")
    if len(password) < MIN_CHOSEN:
        raise Conflict(f"the password is too short: it needs {MIN_CHOSEN} characters")
    if len(password.encode("utf-8")) > schemes.BCRYPT_OCTETS:
        raise Conflict(f"the password is longer than {schemes.BCRYPT_OCTETS} octets, and bcrypt would not read the rest")


def stored_random(password: str) -> str:
    """The stored form of what `new_password` made, and of nothing else."""
    return _stored_random(password.encode("utf-8"))


def stored_chosen(password: str) -> str:
    """The stored form of a password that `check_chosen` let pass. Slow on purpose."""
    return _CHOSEN_PREFIX + schemes.bcrypt_hash(password.encode("utf-8"))


def is_random(stored: str) -> bool:
    """Whether `stored` is of `stored_random`."""
    return _RANDOM.fullmatch(stored) is not None


def fits_random(secret: bytes, stored: str) -> bool:
    """Whether `secret` is the password behind `stored`, which is of `stored_random`."""
    return hmac.compare_digest(_stored_random(secret), stored)


def _stored_random(secret: bytes) -> str:
    return RANDOM_PREFIX + hashlib.sha256(secret).hexdigest()
