"""When a next hop that failed is asked again: pure rules.

A hop in good health takes any number of attempts at once. One that failed rests, 1 s at first and twice as long
after each further failure up to half a minute; then a single attempt, the probe, finds out for all the others. The hop may be
long about it, after the final dot ten minutes: another probe goes out after one.
"""

from dataclasses import dataclass, replace

FIRST_REST = 1.0  # seconds
LONGEST_REST = 30.0
PROBE = 60.0  # seconds that a probe keeps all others waiting


@dataclass(frozen=True, slots=True)
class Health:
    """Of one hop. Times in seconds by the caller's clock."""

    failures: int = 0  # in a row
    retry_at: float = 0.0
    probe_until: float = 0.0  # 0: no probe is out
    reason: str = ""  # of the last failure

    @property
    def good(self) -> bool:
        return self.failures == 0


def may_try(health: Health, now: float) -> bool:
    return health.good or now >= max(health.retry_at, health.probe_until)


def tried(health: Health, now: float) -> Health:
    """An attempt begins; on a hop that has failed it is the probe."""
    return health if health.good else replace(health, probe_until=now + PROBE)


def failed(health: Health, now: float, reason: str, *, probe: bool) -> Health:
    """An attempt could not reach the hop. Of attempts that were under way together only the first counts."""
    if not health.good and not probe:
        return health
    rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(health.failures, 16))
    return Health(health.failures + 1, now + rest, reason=reason)


def undecided(health: Health, *, probe: bool) -> Health:
    """An attempt ended before it could tell anything about the hop."""
    return replace(health, probe_until=0.0) if probe else health
