"""The limit of open files, and the sessions that fit in it."""

import resource
from collections.abc import Iterator

import pytest

from gateway.edge.descriptors import OTHERS, WANTED, places, raise_limit


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [(65_536, 32_668), (2200, 1000), (2198, 999), (1024, 412), (OTHERS, 1), (64, 1)],
)
def test_each_session_has_a_descriptor_for_its_connection_and_one_for_its_body(descriptors: int, expected: int) -> None:
    assert places(descriptors) == expected


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Those of this process, which are put back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_soft_limit_is_raised(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    assert raise_limit() == most
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)


def test_a_limit_that_is_high_is_left_alone(limits: tuple[int, int]) -> None:
    soft = raise_limit()
    assert raise_limit() == soft
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == limits[1]
