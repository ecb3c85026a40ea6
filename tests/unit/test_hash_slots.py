"""Slots for hashes that several processes share: here, several that open the same files."""

from contextlib import ExitStack
from pathlib import Path

from gateway.hash_slots import LOOKS, HashSlots


class Naps:
    """Counts how often somebody had to wait, and can wake up to something."""

    def __init__(self) -> None:
        self.count = 0
        self.ends: dict[int, ExitStack] = {}

    def __call__(self, seconds: float) -> None:
        self.count += 1
        if self.count in self.ends:
            self.ends[self.count].close()


def test_as_many_as_there_are_and_the_next_waits_for_the_first_that_is_given_back(tmp_path: Path) -> None:
    naps = Naps()
    mine, theirs = HashSlots(tmp_path, "slot", 2, naps), HashSlots(tmp_path, "slot", 2, naps)
    first, second = ExitStack(), ExitStack()
    with first, second:
        first.enter_context(mine.one())
        second.enter_context(theirs.one())
        assert naps.count == 0
        naps.ends[3] = second
        with mine.one():
            assert naps.count == 3
        with theirs.one():  # given back
            assert naps.count == 3


def test_one_that_fails_gives_its_slot_back(tmp_path: Path) -> None:
    naps = Naps()
    slots = HashSlots(tmp_path, "slot", 1, naps)
    for _ in range(2):
        try:
            with slots.one():
                raise ValueError
        except ValueError:
            pass
    assert naps.count == 0


def test_one_that_is_never_given_back_is_not_waited_for_without_end(tmp_path: Path) -> None:
    naps = Naps()
    with HashSlots(tmp_path, "slot", 1, naps).one(), HashSlots(tmp_path, "slot", 1, naps).one():
        assert naps.count == LOOKS


def test_where_there_can_be_no_files_there_are_no_slots(tmp_path: Path) -> None:
    naps = Naps()
    slots = HashSlots(tmp_path / "not there", "slot", 1, naps)
    with slots.one(), slots.one():
        assert naps.count == 0


def test_slots_of_another_name_are_others(tmp_path: Path) -> None:
    naps = Naps()
    with HashSlots(tmp_path, "slot", 1, naps).one(), HashSlots(tmp_path, "other", 1, naps).one():
        assert naps.count == 0
