"""What password checks came to, so that the same check never costs a second slow hash.

Theory of operation. An answer is kept under a keyed digest that takes in the stored hash it was checked against. Since
the login row is read anew at every attempt, a moved hash cannot find the old answer: there is no lifetime to tune, and
nothing to be told when a password changes.

Right answers are kept one for each account and password, at most MOST_OF_ONE of an account. So an account that keeps changing
its password, or has many that its hash does not tell apart, pushes out no other. Wrong ones have a place of their own with a
bound of its own, so that guesses push out guesses and no good password. When the hash moves, it stays known of a right password
that it was once right: a phone with last week's password is told from a guess.

What is kept are HMAC-SHA256 digests (RFC 2104) under a key that only this process knows; neither a password nor a
stored hash can be read off them, or tried against them without the key.
"""

import hmac
from collections import OrderedDict
from enum import StrEnum
from typing import TypeVar

from gateway.accounts.seal import keyed_digest
from gateway.metrics import Metrics

T = TypeVar("T")

_NOTHING = b"", b""

MOST_OF_ONE = 5  # right passwords of one subject: the present one, and those that forgotten devices still use


class Recall(StrEnum):
    """What a password came to when it was checked."""

    RIGHT = "right"
    WRONG = "wrong"
    STALE = "stale"  # wrong now, and right under an earlier stored hash


_RESULTS = {Recall.RIGHT: "hit", Recall.WRONG: "repeated", Recall.STALE: "repeated", None: "miss"}


class Memo:
    """Up to `right` right and `wrong` wrong passwords, those not asked for longest leaving first: about 0.25 KB each.

    `key` is random, of 32 octets, and never leaves the process.
    """

    def __init__(self, key: bytes, metrics: Metrics, *, right: int = 100_000, wrong: int = 100_000) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")
        self._metrics = metrics
        self._most_right = right
        self._most_wrong = wrong
        self._right: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()  # password -> with its stored hash, its subject
        self._wrong: OrderedDict[bytes, Recall] = OrderedDict()  # digest with its stored hash
        self._owned: dict[bytes, list[bytes]] = {}  # digest of a subject -> those of its right passwords, the newest last

    def recall(self, subject: str, stored: str, secret: bytes) -> Recall | None:
        """What checking `secret` against `stored` came to, None when that is not known.

        `subject` is "a:" and the account's id, "c:" and the credential's, or "l:" and the login where there is no row (then
        `stored` is "").
        """
        found = self._find(self._password(subject, secret), stored)
        self._metrics.verification_memo_total.labels(_RESULTS[found]).inc()
        return found

    def was_right(self, subject: str, secret: bytes) -> bool:
        """Whether `secret` was right under the stored hash of now or an earlier one."""
        return self._password(subject, secret) in self._right

    def remember(self, subject: str, stored: str, secret: bytes, recall: Recall) -> None:
        """Keep what checking `secret` against `stored` came to."""
        password = self._password(subject, secret)
        check = self._check(password, stored)
        if recall is Recall.RIGHT:
            self._keep_right(subject, password, check)
        else:
            _keep(self._wrong, check, recall, self._most_wrong)
        self._metrics.verification_memo_entries.set(len(self._right) + len(self._wrong))

    def _keep_right(self, subject: str, password: bytes, check: bytes) -> None:
        owner = keyed_digest(self._keyed, b"o" + subject.encode("utf-8", "surrogatepass"))
        if password not in self._right:
            own = self._owned.setdefault(owner, [])
            own.append(password)
            if len(own) > MOST_OF_ONE:
                del self._right[own.pop(0)]
        self._right[password] = check, owner
        self._right.move_to_end(password)
        if len(self._right) > self._most_right:
            oldest, (_, its_owner) = self._right.popitem(last=False)
            self._owned[its_owner].remove(oldest)
            if not self._owned[its_owner]:
                del self._owned[its_owner]

    def _find(self, password: bytes, stored: str) -> Recall | None:
        check = self._check(password, stored)
        if hmac.compare_digest(self._right.get(password, _NOTHING)[0], check):
            self._right.move_to_end(password)
            return Recall.RIGHT
        if check in self._wrong:
            self._wrong.move_to_end(check)
        return self._wrong.get(check)

    def _password(self, subject: str, secret: bytes) -> bytes:
        owner = subject.encode("utf-8", "surrogatepass")
        # The length says where the subject ends, and the letter keeps the two kinds of digest apart.
        return keyed_digest(self._keyed, b"p%d:%b%b" % (len(owner), owner, secret))

    def _check(self, password: bytes, stored: str) -> bytes:
        """Digest of subject, password and stored hash: the first two are in the digest `password`, of fixed length."""
        return keyed_digest(self._keyed, b"c" + password + stored.encode("utf-8", "surrogatepass"))


def _keep(entries: OrderedDict[bytes, T], key: bytes, value: T, most: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > most:
        entries.popitem(last=False)
