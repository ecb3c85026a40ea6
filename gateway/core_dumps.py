"""No core dumps: the memory of a gateway holds passwords that were typed a moment ago."""

import resource
from contextlib import suppress


def forbid() -> None:
    """For this process and those that it starts. Where the system refuses, it goes on as it is."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
