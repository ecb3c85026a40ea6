"""How many sessions may be open, in total and from one network."""

import ipaddress
from collections import Counter
from enum import StrEnum
from functools import lru_cache


class Admission(StrEnum):
    """What becomes of a new connection; also the label of connections_total."""

    ACCEPTED = "accepted"
    TOO_MANY = "too_many"
    TOO_MANY_OF_NETWORK = "too_many_of_network"


class Door:
    """Counts the open sessions of this process. The limits may be replaced at any time (reload)."""

    def __init__(self, total: int, per_network: int) -> None:
        self.total = total
        self.per_network = per_network
        self._open = 0
        self._of_network: Counter[str] = Counter()

    def enter(self, network: str) -> Admission:
        """Count a session, if there is room; each one accepted must `leave`."""
        if self._open >= self.total:
            return Admission.TOO_MANY
        if self._of_network[network] >= self.per_network:
            return Admission.TOO_MANY_OF_NETWORK
        self._open += 1
        self._of_network[network] += 1
        return Admission.ACCEPTED

    def leave(self, network: str) -> None:
        self._open -= 1
        self._of_network[network] -= 1
        if not self._of_network[network]:
            del self._of_network[network]


@lru_cache(maxsize=4096)
def network_of(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network that counts as one: "192.0.2.1/32", "2001:db8::/64". IPv4 in IPv6 clothes counts as IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    prefix = ipv4_prefix if ip.version == 4 else ipv6_prefix
    return str(ipaddress.ip_network((ip, prefix), strict=False))
