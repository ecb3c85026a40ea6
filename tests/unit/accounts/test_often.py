"""How many hashes one may have at once, and how soon another."""

import pytest

from gateway.accounts.often import _REMEMBERED, Often


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ([0, 0, 0, 0], False),
        ([0, 0, 0, 0, 0], True),
        ([0, 0, 0, 0, 15], False),
        ([0, 0, 0, 0, 14], True),
        ([0, 10, 20, 30, 40, 50, 60, 70, 80, 90], False),
        ([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 91], True),
        ([0] * 100 + [1000], True),
        ([0] * 10 + [3600], False),
    ],
)
def test_a_few_at_once_then_one_every_fifteen_seconds(times: list[float], last: bool) -> None:
    often = Often()
    assert [often.note("x", 1000.0 + at) for at in times][-1] is last
    assert not often.note("y", 1000.0)


def test_one_taken_back_is_free_again() -> None:
    often = Often()
    for _ in range(100):
        often.note("x", 0.0)
        often.forgive("x")
    often.forgive("never seen")
    assert [often.note("x", 0.0) for _ in range(5)] == [False] * 4 + [True]


def test_the_latest_are_remembered() -> None:
    often = Often()
    for _ in range(5):
        often.note("x", 0.0)
    for n in range(_REMEMBERED - 1):
        often.note(n, 0.0)
    assert often.note("x", 0.0)
    for n in range(_REMEMBERED):
        often.note(n, 0.0)
    assert not often.note("x", 0.0)
    assert len(often._until) == _REMEMBERED
