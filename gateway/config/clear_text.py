"""Passwords that would cross a network in clear: the settings allow it, so it is not refused, but it is said."""

import ipaddress
from collections.abc import Iterable, Iterator

from gateway.config.hop import NextHop
from gateway.config.sections import Listen


def warnings(listeners: Iterable[Listen], hops: Iterable[NextHop]) -> Iterator[str]:
    """A line each, "listen.2.allow_plaintext_auth: what; what instead". This machine's own loopback is no network."""
    for number, listen in enumerate(listeners, 1):
        if listen.security == "none" and listen.allow_plaintext_auth and not _is_loopback(listen.address):
            yield (
                f"listen.{number}.allow_plaintext_auth: passwords come over the network in clear; "
                'set security = "starttls" or "tls", or listen on 127.0.0.1'
            )
    for number, hop in enumerate(hops, 1):
        if hop.user and hop.tls == "none" and not _is_loopback(hop.host):
            yield f"relay.next_hop.{number}: the password for {hop.label} goes over the network in clear; use tls=required"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
