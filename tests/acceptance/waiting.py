"""Waiting for something that another process does: often looked at, with an end, and with a reason when it fails."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds, on a machine that is busy with other things
_STEP = 0.02


def until(condition: Callable[[], T | None], what: Callable[[], str] | str, patience: float = PATIENCE) -> T:
    """The first true result of `condition`. Raises AssertionError with `what` after `patience` seconds."""
    end = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_STEP)
    return result
