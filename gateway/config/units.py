"""Sizes and times as people write them ("25MiB", "15m"), to octets and seconds and back."""

import re

_SIZE = re.compile(r"([0-9]{1,15}) ?([a-z]*)")
_OCTETS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_DURATION = re.compile(r"([0-9]{1,9}) ?(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST = 1e12  # seconds


def parse_size(value: object) -> int:
    """Octets in "25MiB" (1024), "10MB" (1000), "512" or 512. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    found = _SIZE.fullmatch(value.lower()) if isinstance(value, str) else None
    if found is None or found[2] not in _OCTETS:
        raise ValueError('is not a size; write for instance "25MiB", "64KiB", "10MB" or 1000 (octets)')
    return int(found[1]) * _OCTETS[found[2]]


def format_size(octets: int) -> str:
    """The shortest text that `parse_size` reads back to `octets`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets and octets % unit == 0:
            return f"{octets // unit}{name}"
    return f"{octets}B"


def parse_duration(value: object) -> float:
    """Seconds, exact to the millisecond, in "300ms", "15m", "1h", "3d" or a plain number of seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LONGEST:
        return round(value * 1000) / 1000
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is not a time; write for instance "300ms", "30s", "15m", "1h" or "3d"')
    return int(found[1]) * _MILLISECONDS[found[2]] / 1000


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back to `seconds`."""
    milliseconds = round(seconds * 1000)
    for name in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _MILLISECONDS[name] == 0:
            return f"{milliseconds // _MILLISECONDS[name]}{name}"
    return f"{milliseconds}ms"
