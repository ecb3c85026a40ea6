"""SmtpHop with connections that all hang: other mail goes another way, and the hop is asked over a few further connections."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import directlyProvides, providedBy

from gateway.queue.model import Outcome, Result
from gateway.relay.hop import HopDown
from gateway.relay.next_hops import NextHops
from gateway.relay.places import HANGS
from gateway.relay.pool import SmtpHop
from tests.unit.relay.faulty_hop import SILENT, FaultyHop, Store, message
from tests.unit.relay.hop_case import HopTest, reactor, send


class LateReactor:
    """The reactor, with a clock that can be put forward. Timers are not: what waits goes on waiting."""

    def __init__(self) -> None:
        self.late = 0.0
        directlyProvides(self, *providedBy(reactor))

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.late

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class HangingTest(HopTest):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = LateReactor()

    def at(self, faulty: FaultyHop, connections: int) -> SmtpHop:
        return self.hop(self.serve(faulty), connections=connections, reactor=self.reactor)

    async def all_hang(self, hop: SmtpHop, faulty: FaultyHop, verb: str, count: int) -> list[Deferred[list[Outcome]]]:
        """Deliveries that wait for the answer to `verb`, for more than a minute."""
        faulty.answers[verb] = [SILENT] * count
        stuck = [Deferred.fromCoroutine(send(hop)) for _ in range(count)]
        for each in range(count):
            await faulty.until(verb, each + 1)
        self.reactor.late += HANGS + 1
        return stuck

    async def test_the_next_hop_takes_over_when_all_connections_hang(self) -> None:
        for verb in ("DOT", "DATA", "MAIL"):
            first, second = FaultyHop(), FaultyHop()
            first.mute = True
            hop = self.at(first, 2)
            other = self.hop(self.serve(second), reactor=self.reactor)
            hops = NextHops([hop, other], self.reactor)
            stuck = await self.all_hang(hop, first, verb, 2)
            with capture_logs() as logs:
                (outcome,) = await send(hops)
            assert (outcome.result, outcome.hop) == (Result.DELIVERED, other.label)
            (line,) = logs
            assert (line["event"], line["hop"]) == ("hop down", hop.label)
            assert line["reason"] == "all 2 connections have waited for an answer for more than a minute"
            assert not any(one.called for one in stuck)
            await self.let_go(first, stuck)

    async def test_a_single_hop_gets_mail_over_a_further_connection(self) -> None:
        faulty = FaultyHop()
        hop = self.at(faulty, 4)
        stuck = await self.all_hang(hop, faulty, "DOT", 4)
        hops = NextHops([hop], self.reactor)
        (outcome,) = await send(hops)
        assert (outcome.result, outcome.burns_attempt) == (Result.RETRY, False)
        self.reactor.late += 1
        for _ in range(5):
            (outcome,) = await send(hops)
            assert outcome.result == Result.DELIVERED
        assert faulty.connections == faulty.most_open == 5
        assert self.connections(hop, "busy") == 4
        await self.let_go(faulty, stuck)

    async def test_further_connections_that_hang_are_few(self) -> None:
        faulty = FaultyHop()
        hop = self.at(faulty, 4)
        stuck = await self.all_hang(hop, faulty, "DOT", 4)
        with pytest.raises(HopDown):
            await send(hop)
        faulty.answers["DOT"] = [SILENT] * 10
        stuck.append(Deferred.fromCoroutine(send(hop)))
        await faulty.until("DOT", 5)
        self.reactor.late += HANGS + 1
        for _ in range(3):
            with pytest.raises(HopDown):
                await send(hop)
        assert faulty.connections == 5
        await self.let_go(faulty, stuck)

    async def test_a_hop_that_answers_at_last_is_used_again(self) -> None:
        faulty = FaultyHop()
        hop = self.at(faulty, 2)
        stuck = await self.all_hang(hop, faulty, "DOT", 2)
        with pytest.raises(HopDown):
            await send(hop)
        for session in faulty.open:
            transport: Any = session.transport
            transport.write(b"250 2.0.0 queued\r\n")
        for one in stuck:
            (outcome,) = await one
            assert outcome.result == Result.DELIVERED
        (outcome,) = await send(hop)
        assert outcome.result == Result.DELIVERED
        assert faulty.connections == 2

    async def test_a_slow_store_does_not_count_against_the_hop(self) -> None:
        """A delivery that waits for the store's word on its lease waits for us."""
        faulty, store, clock = FaultyHop(), Store(), Clock()
        hop = self.at(faulty, 1)
        await send(hop)
        store.slow = Deferred()
        slow = Deferred.fromCoroutine(send(hop, lease=store.lease(message(), clock)))
        self.reactor.late += HANGS + 1
        in_line = Deferred.fromCoroutine(send(hop))
        assert not in_line.called
        store.slow.callback(None)
        for one in (slow, in_line):
            (outcome,) = await one
            assert outcome.result == Result.DELIVERED

    async def let_go(self, faulty: FaultyHop, stuck: list[Deferred[list[Outcome]]]) -> None:
        await faulty.drop_all()
        for one in stuck:
            (outcome,) = await one
            assert outcome.result == Result.RETRY
