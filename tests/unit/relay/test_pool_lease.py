"""SmtpHop and the lease of what it sends: lost in the middle of a transaction, nothing is sent."""

import pytest
from twisted.internet.task import Clock

from gateway.queue.lease import TRUSTED, LeaseLost
from gateway.queue.model import Result, Spooled
from gateway.relay.next_hops import NextHops
from tests.unit.relay.faulty_hop import FaultyHop, Store, message
from tests.unit.relay.hop_case import HopTest, reactor, send


class LeaseTest(HopTest):
    """The store is asked before MAIL and before the final dot; a lost lease never ends a message."""

    def setUp(self) -> None:
        super().setUp()
        self.store = Store()
        self.clock = Clock()

    async def test_it_is_asked_once_where_both_come_soon_after_one_another(self) -> None:
        hop = self.hop(self.serve(FaultyHop()))
        (outcome,) = await send(hop, lease=self.store.lease(message(), self.clock))
        assert (outcome.result, self.store.looks) == (Result.DELIVERED, 1)

    async def test_gone_before_mail_nothing_is_said(self) -> None:
        self.store.gone = {1}
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        with pytest.raises(LeaseLost):
            await send(hop, lease=self.store.lease(message(), self.clock))
        await faulty.until_open(0)
        assert "MAIL" not in faulty.verbs
        assert self.connections(hop, "busy") == 0

    async def test_gone_before_the_final_dot_the_message_is_never_ended(self) -> None:
        for large in (False, True):
            self.bodies.blocks = [b"x" * 100_000 + b"\r\n"] * 5
            queued = message("b@y.example", "c@y.example", body=Spooled("big", 500_010) if large else None)
            store, clock, faulty = Store(), Clock(), FaultyHop()
            store.gone = {2}
            hop = self.hop(self.serve(faulty))
            lease = store.lease(queued, clock, age=0.0)
            faulty.on_data = lambda clock=clock: clock.advance(TRUSTED + 1)  # as if we had been stopped there
            with pytest.raises(LeaseLost):
                await send(hop, queued, lease)
            await faulty.until_open(0)
            assert faulty.verbs[-1] == "DATA"
            assert faulty.messages == []
            assert store.looks == 1
            (again,) = await send(hop)  # the hop is well
            assert again.result == Result.DELIVERED

    async def test_a_lost_lease_says_nothing_about_the_hop(self) -> None:
        self.store.gone = {1}
        hops = NextHops([self.hop(self.serve(FaultyHop()))], reactor)
        with pytest.raises(LeaseLost):
            await send(hops, lease=self.store.lease(message(), self.clock))
        assert hops.capacity() > 1
