"""How many sessions may be open, in total and from one network."""

import ipaddress
import sys
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


MAX_NETWORKS = 10_000  # whose new connections are counted


class Admission(StrEnum):
    """What becomes of a new connection; also the label of connections_total."""

    ACCEPTED = "accepted"
    TOO_MANY = "too_many"
    TOO_MANY_OF_NETWORK = "too_many_of_network"
    TOO_FAST = "too_fast"  # more new connections of its network in a minute than it may have
    PROXY_REFUSED = "proxy_refused"  # a trusted proxy sent no PROXY header, or a bad one
    PROXY_GONE = "proxy_gone"  # it left before its header was there, as simple health checks do


class Pace:
    """New connections of each network: at most so many at once, and so many in each minute after that.

    A bucket of tokens for each network that came lately, MAX_NETWORKS of them. It knows nothing of other processes: the kernel
    spreads the connections of a flood over all of them.
    """

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}  # tokens, and when that was, the network that came last at the end

    def admit(self, network: str, now: float, per_minute: int) -> bool:
        """Whether one more is within the pace; `now` in seconds by any clock, and `per_minute` 0 for no limit."""
        if not per_minute:
            return True
        left, since = self._left.pop(network, (per_minute, now))
        left = min(per_minute, left + (now - since) * per_minute / 60)
        admitted = left >= 1
        self._left[network] = left - admitted, now
        if len(self._left) > MAX_NETWORKS:
            del self._left[next(iter(self._left))]
        return admitted


class Elsewhere(Protocol):
    """The sessions of the other processes of this machine, which hear of ours through `change`."""

    def change(self, network: str, by: int) -> None:
        """So many sessions of ours more, or fewer; with network "" they count in the total alone."""

    def total(self) -> int:
        """How many the others have open."""

    def of(self, network: str) -> int:
        """How many of them are from this network."""


class Alone:
    """There are no others."""

    def change(self, network: str, by: int) -> None:
        return

    def total(self) -> int:
        return 0

    def of(self, network: str) -> int:
        return 0


ALONE = Alone()


class Door:
    """Counts the open sessions, those `elsewhere` too. The limits may be replaced at any time (reload).

    `places`: how many this process has room for by itself, whatever the limits say.
    """

    def __init__(self, total: int, per_network: int, elsewhere: Elsewhere = ALONE, *, places: int = sys.maxsize) -> None:
        self.total = total
        self.per_network = per_network
        self._places = places
        self._elsewhere = elsewhere
        self._open = 0
        self._of_network: Counter[str] = Counter()

    def enter(self, network: str) -> Admission:
        """Count a session, if there is room; each one accepted must `leave`."""
        self._count(network, 1)  # before looking, so that of two who come at once at least one sees the other
        if self._overfull:
            self._count(network, -1)
            return Admission.TOO_MANY
        if self._of_network[network] + self._elsewhere.of(network) > self.per_network:
            self._count(network, -1)
            return Admission.TOO_MANY_OF_NETWORK
        return Admission.ACCEPTED

    def leave(self, network: str) -> None:
        self._count(network, -1)

    def reserve(self) -> bool:
        """Count a connection whose network is not known yet, if there is room in total; each one counted must `release`."""
        self._count("", 1)
        if self._overfull:
            self._count("", -1)
            return False
        return True

    def release(self) -> None:
        self._count("", -1)

    @property
    def _overfull(self) -> bool:
        return self._open > self._places or self._open + self._elsewhere.total() > self.total

    def _count(self, network: str, by: int) -> None:
        self._open += by
        self._of_network[network] += by
        if not self._of_network[network]:
            del self._of_network[network]
        self._elsewhere.change(network, by)


def unmapped(ip: IpAddress) -> IpAddress:
    """IPv4 in IPv6 clothes (RFC 4291 section 2.5.5.2) counts as IPv4."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def address_of(text: str) -> IpAddress:
    """The address as it counts, from a socket's words for it: without a zone, unmapped."""
    return unmapped(ipaddress.ip_address(text.partition("%")[0]))


def is_within(address: str, networks: Iterable[IpNetwork]) -> bool:
    """Whether the address, in a socket's words, is in one of the networks."""
    return any(address_of(address) in network for network in networks)


@lru_cache(maxsize=4096)
def network_of(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network that counts as one: "192.0.2.1/32", "2001:db8::/64". IPv4 in IPv6 clothes counts as IPv4."""
    ip = address_of(address)
    prefix = ipv4_prefix if ip.version == 4 else ipv6_prefix
    return str(ipaddress.ip_network((ip, prefix), strict=False))
