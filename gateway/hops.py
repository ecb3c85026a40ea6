"""The next hops of a configuration, as objects."""

from typing import Any

from gateway.config import Config, NextHop
from gateway.relay.hop import Hop
from gateway.relay.maildir import MaildirHop
from gateway.relay.next_hops import NextHops
from gateway.relay.pool import SmtpHop
from gateway.stores import Stores


def next_hops(settings: Config, stores: Stores, reactor: Any) -> NextHops:
    """Nothing is connected yet. Raises ConfigError."""
    return NextHops([_hop(hop, settings, stores, reactor) for hop in settings.relay.next_hop], reactor)


def _hop(hop: NextHop, settings: Config, stores: Stores, reactor: Any) -> Hop:
    hostname = settings.server.hostname
    if hop.path is not None:
        return MaildirHop(
            hop.path,
            stores.on_disk,
            hostname,
            label=hop.label,
            bodies=stores.bodies,
            clock=reactor,
            metrics=stores.metrics,
        )
    return SmtpHop(
        hop,
        hostname=hostname,
        connections=stores.share.part(settings.relay.connections),
        bodies=stores.bodies,
        reactor=reactor,
        metrics=stores.metrics,
    )
