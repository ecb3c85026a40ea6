"""How many sessions this process has descriptors for: past that one is told so (421), for accept() can tell nobody."""

import resource
from contextlib import suppress

OTHERS = 200  # descriptors for everything else: store, login table, next hops, HTTP, log
A_SESSION = 2  # its connection, and the large body that it sends
WANTED = 65_536  # more than any machine's sessions need


def raise_limit() -> int:
    """Raise this process's limit of open files as far as the system lets it, and as it makes sense; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def places(descriptors: int) -> int:
    """How many sessions there can be at once with so many descriptors."""
    return max(1, (descriptors - OTHERS) // A_SESSION)
