"""How many sessions may be open, in total and from one network."""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Admission(StrEnum):
    """What becomes of a new connection; also the label of connections_total."""

    ACCEPTED = "accepted"
    TOO_MANY = "too_many"
    TOO_MANY_OF_NETWORK = "too_many_of_network"
    PROXY_REFUSED = "proxy_refused"  # a trusted proxy sent no PROXY header, or a bad one
    PROXY_GONE = "proxy_gone"  # it left before its header was there, as simple health checks do


class Door:
    """Counts the open sessions of this process. The limits may be replaced at any time (reload)."""

    def __init__(self, total: int, per_network: int) -> None:
        self.total = total
        self.per_network = per_network
        self._open = 0
        self._of_network: Counter[str] = Counter()

    def enter(self, network: str) -> Admission:
        """Count a session, if there is room; each one accepted must `leave`."""
        if not self._has_room:
            return Admission.TOO_MANY
        if self._of_network[network] >= self.per_network:
            return Admission.TOO_MANY_OF_NETWORK
        self._open += 1
        self._of_network[network] += 1
        return Admission.ACCEPTED

    def reserve(self) -> bool:
        """Count a connection whose network is not known yet, if there is room in total; each one counted must `release`."""
        if not self._has_room:
            return False
        self._open += 1
        return True

    def release(self) -> None:
        self._open -= 1

    @property
    def _has_room(self) -> bool:
        return self._open < self.total

    def leave(self, network: str) -> None:
        self._open -= 1
        self._of_network[network] -= 1
        if not self._of_network[network]:
            del self._of_network[network]


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
