"""What serving processes share out."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.share import Share


@given(st.integers(1, 200), st.integers(1, 20))
def test_parts_make_the_whole_and_everybody_has_one(whole: int, of: int) -> None:
    parts = [Share(number, of).part(whole) for number in range(1, of + 1)]
    assert sum(parts) == max(whole, of)
    assert max(parts) - min(parts) <= 1


def test_one_that_serves_alone_has_all_of_it_and_is_no_worker() -> None:
    assert (Share().part(7), Share().worker) == (7, 0)


def test_workers_have_their_numbers_and_the_parent_has_none() -> None:
    assert [Share(number, 2).worker for number in range(3)] == [0, 1, 2]
