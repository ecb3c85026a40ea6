"""When strangers who ask for hashes are taken for guessers."""

import pytest

from gateway.accounts.doubt import Doubt


def after(answers: str, every: float = 0.1) -> tuple[Doubt, float]:
    """Of "w"rong and "r"ight ones, so many seconds apart; and the time by then."""
    doubt, now = Doubt(), 1000.0
    for answer in answers:
        doubt.note(wrong=answer == "w", now=now)
        now += every
    return doubt, now


@pytest.mark.parametrize(
    ("answers", "much"),
    [
        ("", False),
        ("wwwwwwww", False),
        ("wwwwwwwww", True),
        ("rw" * 50, False),
        ("rww" * 50, True),
        ("w" * 100, True),
        ("w" * 100 + "r" * 4, True),
        ("w" * 100 + "r" * 5, False),
    ],
)
def test_most_of_the_latest_were_wrong(answers: str, much: bool) -> None:
    doubt, now = after(answers)
    assert doubt.is_much(now) is much


def test_it_is_forgotten() -> None:
    doubt, now = after("w" * 100)
    assert doubt.is_much(now + 40.0)
    assert not doubt.is_much(now + 46.0)


def test_single_guesses_raise_none() -> None:
    doubt, now = after("w" * 100, every=10.0)
    assert not doubt.is_much(now - 10.0)
