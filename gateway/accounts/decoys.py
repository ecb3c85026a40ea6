"""What stands in for the hash of a login that does not exist: one of the scheme and cost that most of the table's rows have.

Rows are counted once each however often they sign in, so that nobody moves the decoy's cost by trying the one old account
they know.
"""

from collections import Counter

from gateway.accounts import schemes

DEFAULT_DECOY = "$2b$12$" + "." * 53  # until a row has been seen: bcrypt, cost 12
REMEMBERED = 256  # rows whose scheme and cost are counted


class Decoys:
    """Learned from the stored hashes that are met."""

    def __init__(self) -> None:
        self._decoys: dict[int, str] = {}  # by Python's hash() of the stored one: no copy of it is kept

    def __len__(self) -> int:
        return len(self._decoys)

    def learn(self, stored: str) -> None:
        """Raises UnknownScheme."""
        key = hash(stored)
        self._decoys.pop(key, None)
        self._decoys[key] = schemes.decoy(stored)
        if len(self._decoys) > REMEMBERED:
            del self._decoys[next(iter(self._decoys))]

    def kinds(self) -> list[str]:
        """One of each scheme and cost met lately."""
        return list(dict.fromkeys(self._decoys.values()))

    def usual(self) -> str:
        usual = Counter(self._decoys.values()).most_common(1)
        return usual[0][0] if usual else DEFAULT_DECOY
