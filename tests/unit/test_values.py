"""Values: by their fields, and with no room for others."""

from dataclasses import field, replace

import pytest

from gateway.values import value


@value
class Pair:
    one: int
    other: int = field(default=0, compare=False)


def test_values_are_compared_and_hashed_by_their_fields() -> None:
    assert Pair(1, 2) == Pair(1, 3) != Pair(2, 2)
    assert len({Pair(1), Pair(1, 3), Pair(2)}) == 2
    assert replace(Pair(1), other=4).other == 4


def test_a_value_has_its_fields_and_no_others() -> None:
    with pytest.raises(AttributeError):
        object.__setattr__(Pair(1), "another", 1)
