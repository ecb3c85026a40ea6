"""Whether people or guessers ask for hashes now: how much of what was hashed for strangers lately was wrong."""

_WEIGHT = 0.1  # of the newest answer in the moving average: nine wrong ones in a row make a doubt
_HALF_LIFE = 60.0  # seconds without an answer after which half of it is forgotten
_MUCH = 0.6


class Doubt:
    """Of all who ask together, since guesses may come from a network each."""

    def __init__(self) -> None:
        self._wrong = 0.0  # a part of all, at `_at`
        self._at = 0.0

    def note(self, *, wrong: bool, now: float) -> None:
        """Count an answer; `now` in seconds of a clock that only grows."""
        left = self._left(now)
        self._wrong, self._at = left + _WEIGHT * (wrong - left), now

    def is_much(self, now: float) -> bool:
        return self._left(now) > _MUCH

    def _left(self, now: float) -> float:
        return float(self._wrong * 0.5 ** ((now - self._at) / _HALF_LIFE))
