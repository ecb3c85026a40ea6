"""When the next attempt is, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.queue.schedule import Schedule

DAY = 86_400.0
SCHEDULE = Schedule((60.0, 300.0, 3600.0), give_up=3 * DAY, delay_warning=4 * 3600.0)


@pytest.mark.parametrize(
    ("attempts", "age", "pause"),
    [
        (0, 0.0, 60.0),  # no hop could be reached: no attempt was burned
        (1, 0.0, 60.0),
        (2, 61.0, 300.0),
        (3, 400.0, 3600.0),
        (4, 4000.0, 3600.0),
        (90, DAY, 3600.0),
        (90, 3 * DAY - 3600.0, 3600.0),
        (90, 3 * DAY - 10.0, 10.0),  # the last one is at give_up, not past it
        (90, 3 * DAY, None),
        (1, 9 * DAY, None),
    ],
)
def test_next_attempt(attempts: int, age: float, pause: float | None) -> None:
    assert SCHEDULE.next_attempt(attempts, age) == pause


@given(st.integers(0, 1000), st.floats(0.0, 10 * DAY))
def test_it_never_goes_past_its_end_and_never_stands_still(attempts: int, age: float) -> None:
    pause = SCHEDULE.next_attempt(attempts, age)
    assert (pause is None) == (age >= SCHEDULE.give_up)
    if pause is not None:
        assert 0.0 < pause <= 3600.0
        assert age + pause <= SCHEDULE.give_up * (1 + 1e-12)


@pytest.mark.parametrize(
    ("age", "warned", "due"), [(0.0, False, False), (14_399.0, False, False), (14_400.0, False, True), (DAY, True, False)]
)
def test_one_warning_when_it_is_late(age: float, warned: bool, due: bool) -> None:
    assert SCHEDULE.delay_due(age, warned) is due


def test_no_warning_when_switched_off() -> None:
    assert not Schedule((60.0,), give_up=DAY, delay_warning=0.0).delay_due(DAY, False)
