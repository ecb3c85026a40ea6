"""Sizes and times of the configuration, read and written."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("25MiB", 26214400),
        ("64KiB", 65536),
        ("10MB", 10_000_000),
        ("1kB", 1000),
        ("1 GiB", 1 << 30),
        ("2gb", 2_000_000_000),
        ("512", 512),
        ("7B", 7),
        (1000, 1000),
        (0, 0),
    ],
)
def test_a_size_is_read(text: object, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    "text", ["", "MiB", "1.5MiB", "-1", -1, "1M", "1 MB ", "1e3", True, None, 1.5, [], "9" * 16, 10**18, "٣KiB", "1MiB\n"]
)
def test_what_is_not_a_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="25MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300ms", 0.3), ("15m", 900.0), ("1h", 3600.0), ("3d", 259200.0), ("30 s", 30.0), (5, 5.0), (0.25, 0.25), (0, 0.0)],
)
def test_a_time_is_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "15", "m", "1.5h", "-1s", -1, True, None, "1w", "1M", "1h30m", float("nan"), float("inf"), 10**400, "9" * 10 + "s"],
)
def test_what_is_not_a_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="15m"):
        parse_duration(text)


@given(st.integers(0, 10**14))
def test_a_size_survives_writing_and_reading(octets: int) -> None:
    assert parse_size(format_size(octets)) == octets


@given(st.integers(0, 999_999_999))
def test_a_time_survives_writing_and_reading(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans()))
def test_a_bad_value_raises_nothing_but_valueerror(value: object) -> None:
    for parse in (parse_size, parse_duration):
        with contextlib.suppress(ValueError):
            assert parse(value) >= 0
