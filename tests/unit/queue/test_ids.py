"""Queue ids: that they sort by time and differ."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.queue.ids import DRAWN, QueueIds, queue_id

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


def test_ids_of_one_moment_differ_and_entropy_is_used_once() -> None:
    drawn: list[int] = []

    def draw(octets: int) -> bytes:
        """Each four octets are another number, also those of a later drawing."""
        drawn.append(octets)
        return b"".join((len(drawn) * 10_000 + n).to_bytes(4, "big") for n in range(octets // 4))

    ids = QueueIds(lambda: 1.0, draw)
    made = [ids.make() for _ in range(2 * DRAWN // 4 + 1)]
    assert len(set(made)) == len(made)
    assert made[0] == queue_id(1.0, (10_000).to_bytes(4, "big"))
    assert drawn == [DRAWN] * 3
