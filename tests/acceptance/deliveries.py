"""What arrived at a next hop while processes were killed, and which second arrivals that explains.

A message may arrive twice when the final reply of the next hop is lost, or when the gateway dies between that reply and its own
record of it. Both need a kill between the two arrivals: of the hop, or of the gateway that sent the first. The death of the
store explains none: a gateway keeps what it could not write down. And a client that sends again because it never got its 250
is known by its message, so there is one queue id for each.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.acceptance.journal_hop import Entry

HOP = "hop"
EXPLAINED = ("reply lost", "died after the reply")


class Kill(NamedTuple):
    """`who`: HOP, or of a gateway what it says in EHLO. Times as in the journal, before the signal and after the end."""

    who: str
    begun: int
    over: int


def missing(entries: Iterable[Entry], names: Collection[str], recipients: Collection[str]) -> list[tuple[str, str]]:
    """What was promised and did not arrive, with its recipient."""
    there = {(entry.name, entry.recipient) for entry in entries}
    return sorted({(name, recipient) for name in names for recipient in recipients} - there)


def repeats(entries: Iterable[Entry], kills: Sequence[Kill]) -> Iterator[tuple[str, Entry, Entry]]:
    """Each arrival after the first of its message and recipient: why it may be, the one before, itself."""
    arrivals = defaultdict[tuple[str, str], list[Entry]](list)
    for entry in entries:
        if entry.event == "got":
            arrivals[entry.name, entry.recipient].append(entry)
    for found in arrivals.values():
        for before, after in pairwise(sorted(found)):
            yield _reason(before, after, kills), before, after


def _reason(before: Entry, after: Entry, kills: Sequence[Kill]) -> str:
    if before.queue_id != after.queue_id:
        return "queued twice"
    between = {kill.who for kill in kills if _sent(before, kill) <= kill.over and kill.begun <= after.at}
    if HOP in between:
        return "reply lost"
    return "died after the reply" if before.hello in between else "for no reason"


def _sent(entry: Entry, kill: Kill) -> int:
    """When it may have been sent: what a gateway wrote before it died, a busy hop reads any time later, but on a connection
    that had begun before."""
    return entry.at if kill.who == HOP else entry.since


def summary(entries: Sequence[Entry], kills: Sequence[Kill]) -> str:
    """A line for whoever watches."""
    whys = Counter(why for why, _, _ in repeats(entries, kills))
    killed = Counter(kill.who for kill in kills)
    return f"killed {dict(killed)}; arrived {sum(entry.event == 'got' for entry in entries)}, of them again {dict(whys)}"
