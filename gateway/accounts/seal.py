"""Short keyed digests of what must not be stored: of a wrong password, to tell two guesses apart, and of a stored hash.

All processes that share a store share the key. 24 bits of a digest cannot be tried backwards to a password: each one fits
one guess in 16 million (Mailu and wforce keep as little).
"""

import hmac

_FINGERPRINT = 3  # octets
_TAG = 12  # octets


class Seal:
    """`key` is secret, of any length."""

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(hmac.digest(key, b"sign-in failures", "sha256"), digestmod="sha256")

    def fingerprint(self, subject: str, secret: bytes) -> int:
        """Which wrong password it was, for one subject: 24 bits."""
        owner = subject.encode("utf-8", "surrogatepass")
        return int.from_bytes(self._digest(b"p%d:%b%b" % (len(owner), owner, secret))[:_FINGERPRINT], "big")

    def tag(self, stored: str) -> str:
        """Which stored hash it was; "" for none."""
        return self._digest(b"h" + stored.encode("utf-8", "surrogatepass"))[:_TAG].hex() if stored else ""

    def _digest(self, octets: bytes) -> bytes:
        return keyed_digest(self._keyed, octets)


def keyed_digest(keyed: hmac.HMAC, octets: bytes) -> bytes:
    """HMAC-SHA256 of `octets` under the key that `keyed`, which has digested nothing yet, was made with.

    Unlike `hmac.digest`, which lets other threads run meanwhile: in a busy process, getting the turn back costs many times
    what the digest does.
    """
    own = keyed.copy()
    own.update(octets)
    return own.digest()
