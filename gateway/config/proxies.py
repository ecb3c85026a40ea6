"""Proxies that are believed about their clients' addresses: the settings may name everybody, so it is not refused, but said."""

from collections.abc import Iterable, Iterator

from gateway.config.sections import Listen


def warnings(listeners: Iterable[Listen]) -> Iterator[str]:
    """A line for each listener that believes every address there is, "listen.2.key: what; what instead"."""
    for number, listen in enumerate(listeners, 1):
        if any(network.prefixlen == 0 for network in listen.proxy_protocol_from):
            yield (
                f"listen.{number}.proxy_protocol_from: whoever reaches this listener may claim any address and get round "
                "lockouts and limits; name only the proxies' own addresses"
            )
