"""The rules of the daily limit."""

import pytest

from gateway.queue.allowance import OnLimit, Standing, Terms, consequence, fits, is_crossing

DEFER, REJECT, SUSPEND = OnLimit.DEFER, OnLimit.REJECT, OnLimit.SUSPEND


def standing(used: int, *, suspended: bool = False) -> Standing:
    return Standing(20_000, used, 3600.0, suspended)


@pytest.mark.parametrize(("used", "limit", "left"), [(0, 10, 10), (9, 10, 1), (10, 10, 0), (12, 10, 0), (12, 0, None)])
def test_left(used: int, limit: int, left: int | None) -> None:
    assert standing(used).left(limit) == left


@pytest.mark.parametrize(
    ("used", "more", "limit", "answer"),
    [(0, 10, 10, True), (0, 11, 10, False), (9, 1, 10, True), (9, 2, 10, False), (12, 1, 10, False), (12, 1000, 0, True)],
)
def test_fits(used: int, more: int, limit: int, answer: bool) -> None:
    assert fits(Terms(limit, DEFER), standing(used), more) is answer
    assert not fits(Terms(limit, DEFER), standing(used, suspended=True), more)


@pytest.mark.parametrize(
    ("used", "more", "limit", "answer"),
    [
        (79, 79, 100, False),
        (80, 1, 100, True),
        (81, 1, 100, False),
        (81, 2, 100, True),
        (100, 100, 100, True),
        (1, 1, 1, True),
        (500, 500, 0, False),
    ],
)
def test_crossing_is_told_once(used: int, more: int, limit: int, answer: bool) -> None:
    assert is_crossing(Terms(limit, DEFER), standing(used), more) is answer


@pytest.mark.parametrize(
    ("on_limit", "suspended", "lifted", "action"),
    [
        (DEFER, False, False, DEFER),
        (REJECT, False, False, REJECT),
        (SUSPEND, False, False, SUSPEND),
        (DEFER, False, True, DEFER),
        (REJECT, False, True, REJECT),
        (SUSPEND, False, True, DEFER),
        (DEFER, True, False, SUSPEND),
        (REJECT, True, True, SUSPEND),
        (SUSPEND, True, True, SUSPEND),
    ],
)
def test_consequence(on_limit: OnLimit, suspended: bool, lifted: bool, action: OnLimit) -> None:
    assert consequence(Terms(10, on_limit), standing(10, suspended=suspended), lifted=lifted) is action
