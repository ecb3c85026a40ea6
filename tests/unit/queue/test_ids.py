"""Queue ids: that they sort by time and differ."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.queue.ids import queue_id

MOMENTS = st.floats(0, 4e9, allow_nan=False)
ENTROPY = st.binary(min_size=4, max_size=4)


def test_an_id() -> None:
    assert queue_id(0, bytes(4)) == "0" * 16
    assert queue_id(1.0, b"\0\0\0\1") == "00000003X0000001"


@given(MOMENTS, ENTROPY)
def test_sixteen_characters_that_nothing_misreads(moment: float, entropy: bytes) -> None:
    assert re.fullmatch("[0-9A-HJKMNP-TV-Z]{16}", queue_id(moment, entropy))


@given(MOMENTS, ENTROPY, MOMENTS, ENTROPY)
def test_they_sort_by_time_and_then_differ_by_chance(
    one: float, its_entropy: bytes, other: float, other_entropy: bytes
) -> None:
    first, second = (int(one * 1000), its_entropy), (int(other * 1000), other_entropy)
    ids = queue_id(one, its_entropy), queue_id(other, other_entropy)
    assert (ids[0] < ids[1]) == (first < second)
    assert (ids[0] == ids[1]) == (first == second)
