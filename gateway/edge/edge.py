"""What the connections of all listeners share: the limits, the rules, and the sessions that are open."""

import typing
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from gateway.config import Lockout
from gateway.edge.command_counts import CommandCounts
from gateway.edge.limits import Door, Pace
from gateway.edge.tls import ServerTls
from gateway.metrics import Metrics
from gateway.submission import Rules

GIVES_WAY = 5.0  # a session that nobody has signed in to by then gives its place up when there is none left
MAX_KNOWN = 10_000  # networks remembered for having signed in lately


class Connection(typing.Protocol):
    """What can be ended when the gateway stops; the methods of `Edge` with the same names say how."""

    def drain(self) -> None: ...

    def cut(self) -> None: ...

    def abort(self) -> None: ...

    def gives_way(self, latest: float) -> bool: ...

    def give_way(self) -> None: ...

    @property
    def trust_network(self) -> str: ...


@dataclass(slots=True)
class Edge:
    """What the connections of all listeners share. A reload replaces `lockout`; the rules replace themselves."""

    rules: Rules
    door: Door
    tls: ServerTls
    lockout: Lockout
    metrics: Metrics
    clock: Any  # IReactorTime
    pace: Pace = field(default_factory=Pace)
    sessions: dict[Connection, None] = field(default_factory=dict)  # the oldest first
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)  # trust networks of the latest sign-ins, the newest last
    draining: bool = False
    counts: CommandCounts = field(init=False)
    _all_gone: Deferred[None] | None = None

    def __post_init__(self) -> None:
        self.counts = CommandCounts(self.metrics)

    def drain(self) -> Deferred[None]:
        """End the sessions that are idle, and each other one when its transaction is over; fires when all are gone."""
        self.draining = True
        self._all_gone = Deferred()
        for session in list(self.sessions):
            session.drain()
        self._look()
        return self._all_gone

    def cut(self) -> None:
        """End every session that waits for its peer, whatever it is in the middle of."""
        for session in list(self.sessions):
            session.cut()

    def abort(self) -> None:
        """Close the connections that are still open."""
        for session in list(self.sessions):
            session.abort()

    def left(self, session: Connection) -> None:
        self.sessions.pop(session, None)
        self._look()

    def signed_in_from(self, trust_network: str) -> None:
        self.known[trust_network] = None
        self.known.move_to_end(trust_network)
        if len(self.known) > MAX_KNOWN:
            self.known.popitem(last=False)

    def make_room(self, trust_network: str) -> bool:
        """End the session that has been open for longest without a sign-in, at least GIVES_WAY; whether there is one.

        From networks where nobody has signed in lately first; from the others only for a client of such a network itself.
        """
        latest = self.clock.seconds() - GIVES_WAY
        idle = [each for each in self.sessions if each.gives_way(latest)]
        strangers = (each for each in idle if each.trust_network not in self.known)
        one = next(strangers, idle[0] if idle and trust_network in self.known else None)
        if one is not None:
            one.give_way()
        return one is not None

    def _look(self) -> None:
        if self._all_gone is not None and not self.sessions and not self._all_gone.called:
            self._all_gone.callback(None)
