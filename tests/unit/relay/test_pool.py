"""SmtpHop against a faulty server on real loopback sockets."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from gateway.errors import Unavailable
from gateway.queue.model import Envelope, QueuedMessage, Result, Spooled
from gateway.relay.hop import HopDown
from gateway.relay.next_hops import NextHops
from gateway.relay.pool import KEEP, SmtpHop
from tests.unit.relay.faulty_hop import DROP, SILENT, BlockBodies, FaultyHop, eight_bit, message, port_of
from tests.unit.relay.hop_case import HopTest, ServerTls, asynchronous, reactor, send

HEADER_AND_BODY = b"Subject: s\r\n\r\nhello\r\n"


class DeliveryTest(HopTest):
    async def test_delivers_and_reuses_the_connection(self) -> None:
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        for _ in range(2):
            (outcome,) = await send(hop)
            assert (outcome.result, outcome.code, outcome.enhanced) == (Result.DELIVERED, 250, "2.0.0")
            assert (outcome.hop, outcome.remote) == (hop.label, "faulty.example")
        assert faulty.messages == [HEADER_AND_BODY] * 2
        assert faulty.connections == 1
        assert (self.connections(hop, "idle"), self.connections(hop, "busy")) == (1, 0)
        count = "smtp_gateway_delivery_attempt_seconds_count"
        assert self.metrics.registry.get_sample_value(count, {"hop": hop.label}) == 2

    async def test_each_recipient_has_its_outcome(self) -> None:
        for extensions in (["PIPELINING"], ["SIZE 1000"]):
            faulty = FaultyHop(extensions)
            faulty.answers["RCPT"] = [b"250 ok\r\n", b"550 5.1.1 nobody\r\n", b"450 4.2.0 busy\r\n"]
            outcomes = await send(self.hop(self.serve(faulty)), message("b@y.example", "c@y.example", "d@y.example"))
            assert [o.recipient.address[0] for o in outcomes] == ["b", "c", "d"]
            assert [o.result for o in outcomes] == [Result.DELIVERED, Result.FAILED, Result.RETRY]
            assert [o.code for o in outcomes] == [250, 550, 450]
            assert len(faulty.messages) == 1

    async def test_streams_a_large_body_and_stuffs_dots_across_blocks(self) -> None:
        block = b"..dots\r\n" + b"x" * 200_000 + b"\r\n"
        self.bodies.blocks = [block + b".", b"at a border\r\n"] * 40 + [b"no line end"]
        faulty = FaultyHop()
        await send(self.hop(self.serve(faulty)), message(body=Spooled("big", 8_000_000)))
        assert faulty.messages == [b"Subject: s\r\n\r\n" + b"".join(self.bodies.blocks) + b"\r\n"]
        assert self.bodies.readers[0].closed

    async def test_a_refusal_burns_and_keeps_the_connection(self) -> None:
        for verb in ("MAIL", "RCPT", "DATA", "DOT"):
            for code, result in ((b"451 4.3.0", Result.RETRY), (b"554 5.3.0", Result.FAILED)):
                faulty = FaultyHop()
                faulty.answers[verb] = [code + b" no\r\n"]
                if verb == "RCPT":
                    faulty.answers["DATA"] = [b"503 none\r\n"]
                hop = self.hop(self.serve(faulty))
                (outcome,) = await send(hop)
                assert (outcome.result, outcome.code, outcome.burns_attempt) == (result, int(code[:3]), True)
                (again,) = await send(hop)
                assert again.result == Result.DELIVERED
                assert faulty.connections == 1

    async def test_a_drop_in_the_transaction_is_a_retry(self) -> None:
        for verb in ("MAIL", "RCPT", "DATA", "DOT"):
            for answer in (DROP, b"nonsense\r\n", b"x" * 70_000):
                faulty = FaultyHop()
                faulty.answers[verb] = [answer]
                (outcome,) = await send(self.hop(self.serve(faulty)))
                assert (outcome.result, outcome.code, outcome.burns_attempt) == (Result.RETRY, 0, True), verb

    async def test_a_drop_in_a_large_message_is_none_after_its_end(self) -> None:
        for extensions, tls in ([], "none"), (["STARTTLS"], "required"):
            self.bodies = BlockBodies([b"x" * 262_142 + b"\r\n"] * 200)
            faulty = FaultyHop(extensions, ServerTls("127.0.0.1"))
            faulty.on_data = faulty.stop_reading
            hop = self.hop(self.serve(faulty), tls=tls)
            sending = Deferred.fromCoroutine(send(hop, message(body=Spooled("big", 200 << 18))))
            while not (self.bodies.readers and self.bodies.readers[0].reads):
                await deferLater(reactor, 0.001)
            await faulty.drop_all()
            (outcome,) = await sending
            assert (outcome.result, outcome.enhanced, outcome.unconfirmed) == (Result.RETRY, "4.4.2", False)
            assert self.bodies.readers[0].reads < 200

    async def test_8_bit_fails_where_only_7_bit_goes(self) -> None:
        (outcome,) = await send(self.hop(self.serve(FaultyHop())), eight_bit(message()))
        assert (outcome.result, outcome.enhanced) == (Result.FAILED, "5.6.3")

    async def test_international_recipient_asks_for_smtputf8(self) -> None:
        queued = replace(message("ö@y.example"), envelope=Envelope("a@x.example"))
        (outcome,) = await send(self.hop(self.serve(FaultyHop(["SMTPUTF8"]))), queued)
        assert outcome.result == Result.DELIVERED
        (outcome,) = await send(self.hop(self.serve(FaultyHop())), queued)
        assert (outcome.result, outcome.enhanced) == (Result.FAILED, "5.6.7")

    async def test_a_body_that_cannot_be_read_is_never_ended(self) -> None:
        self.bodies.blocks, self.bodies.fail_at = [b"a\r\n", b"b\r\n"], 1
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        with pytest.raises(Unavailable):
            await send(hop, message(body=Spooled("big", 6)))
        await faulty.until_open(0)
        assert faulty.messages == []
        assert self.bodies.readers[0].closed
        assert self.connections(hop, "busy") == 0


class KeptConnectionTest(HopTest):
    async def test_a_stale_connection_costs_nothing(self) -> None:
        for answer in (DROP, b"421 4.4.2 idle too long\r\n"):
            faulty = FaultyHop()
            hop = self.hop(self.serve(faulty))
            await send(hop)
            faulty.answers["MAIL"] = [answer]
            (outcome,) = await send(hop)
            assert outcome.result == Result.DELIVERED
            assert faulty.connections == 2
            assert faulty.messages == [HEADER_AND_BODY] * 2

    async def test_a_stale_connection_to_a_hop_known_to_be_down(self) -> None:
        """The next hop is asked at once: to connect to one that has vanished takes half a minute."""
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        await send(hop)
        faulty.answers["MAIL"] = [SILENT]
        faulty.mute = True
        stale = Deferred.fromCoroutine(send(hop))
        await faulty.until("MAIL", 2)
        faulty.answers["GREETING"] = [b"421 4.3.2 no\r\n"]
        with pytest.raises(HopDown):
            await send(hop)
        await faulty.drop_all()
        with pytest.raises(HopDown) as raised:
            await stale
        assert raised.value.reason == "no (421 4.3.2)"
        assert faulty.connections == 2
        (outcome,) = await send(hop)
        assert outcome.result == Result.DELIVERED

    async def test_lost_later_than_mail_is_not_stale(self) -> None:
        faulty = FaultyHop([])  # not pipelined, or the reply to MAIL would be lost as well
        hop = self.hop(self.serve(faulty))
        await send(hop)
        faulty.answers["RCPT"] = [DROP]
        (outcome,) = await send(hop)
        assert outcome.result == Result.RETRY
        assert faulty.connections == 1

    async def test_one_closed_by_the_hop_is_forgotten(self) -> None:
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        await send(hop)
        (kept,) = hop._idle
        await faulty.drop_all()
        await kept.disconnected
        assert self.connections(hop, "idle") == 0
        (outcome,) = await send(hop)
        assert outcome.result == Result.DELIVERED

    async def _finished(self, faulty: FaultyHop, connections: int) -> list[int]:
        """Of eight messages at once, each by its number."""
        hop = self.hop(self.serve(faulty), connections=connections)
        finished: list[int] = []

        async def one(n: int) -> None:
            await send(hop)
            finished.append(n)

        await gatherResults([asynchronous(one(n)) for n in range(8)])
        assert len(faulty.messages) == 8
        return finished

    async def test_no_more_than_allowed(self) -> None:
        faulty = FaultyHop()
        assert sorted(await self._finished(faulty, 2)) == list(range(8))  # which is first is the kernel's affair
        assert faulty.most_open == 2

    async def test_in_turn(self) -> None:
        assert await self._finished(FaultyHop(), 1) == list(range(8))

    async def test_one_at_rest_for_long_is_let_go(self) -> None:
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        await send(hop)
        (connection,) = hop._idle
        look = self.look(hop)
        look.cancel()
        hop._let_old_ones_go()  # too early
        assert list(hop._idle) == [connection]
        hop._idle[connection] -= KEEP
        self.look(hop).reset(0)
        await faulty.until_open(0)
        assert faulty.verbs[-1] == "QUIT"

    def look(self, hop: SmtpHop) -> Any:
        """The one timer of those at rest."""
        (timer,) = [call for call in reactor.getDelayedCalls() if call.func == hop._let_old_ones_go]
        assert KEEP - 5 < timer.getTime() - reactor.seconds() <= KEEP
        return timer

    async def test_close_says_goodbye(self) -> None:
        faulty = FaultyHop()
        hop = self.hop(self.serve(faulty))
        await send(hop)
        await hop.close()
        assert faulty.verbs[-1] == "QUIT"
        await faulty.until_open(0)
        await send(hop)  # one still under way at close is not kept
        await faulty.until_open(0)


class LimitsTest(HopTest):
    """RFC 9422, and hops that say 452 to some recipients: what is left over has no outcome and goes in the next transaction."""

    def many(self) -> QueuedMessage:
        return message(*(f"{name}@y.example" for name in "bcdef"))

    async def test_more_than_rcptmax_are_left_over(self) -> None:
        for extensions in (["PIPELINING", "LIMITS RCPTMAX=2"], ["LIMITS RCPTMAX=2"]):
            faulty = FaultyHop(extensions)
            outcomes = await send(self.hop(self.serve(faulty)), self.many())
            assert [(o.recipient.address[0], o.result) for o in outcomes] == [
                ("b", Result.DELIVERED),
                ("c", Result.DELIVERED),
            ]
            assert faulty.verbs.count("RCPT") == 2

    async def test_those_that_are_too_many_for_the_hop_are_left_over(self) -> None:
        faulty = FaultyHop()
        faulty.answers["RCPT"] = [b"550 5.1.1 nobody\r\n", b"250 ok\r\n", b"450 4.2.1 later\r\n"] + [b"452 4.5.3 many\r\n"] * 2
        outcomes = await send(self.hop(self.serve(faulty)), self.many())
        assert [(o.recipient.address[0], o.result) for o in outcomes] == [
            ("b", Result.FAILED),
            ("c", Result.DELIVERED),
            ("d", Result.RETRY),
        ]

    async def test_none_delivered_none_left_over(self) -> None:
        """Else we would ask for ever."""
        for last in (b"554 5.5.1 none\r\n", b"451 4.3.0 no\r\n"):
            faulty = FaultyHop()
            faulty.answers["RCPT"] = [b"250 ok\r\n"] + [b"452 4.5.3 many\r\n"] * 4
            faulty.answers["DATA"] = [last]
            outcomes = await send(self.hop(self.serve(faulty)), self.many())
            assert len(outcomes) == 5
            assert {o.code for o in outcomes[1:]} == {452}

    async def test_a_connection_is_not_used_beyond_mailmax(self) -> None:
        faulty = FaultyHop(["PIPELINING", "LIMITS MAILMAX=2"])
        hop = self.hop(self.serve(faulty))
        for _ in range(5):
            (outcome,) = await send(hop)
            assert outcome.result == Result.DELIVERED
        assert faulty.connections == 3
        assert faulty.verbs.count("QUIT") == 2


class TroubleTest(HopTest):
    async def down(self, faulty: FaultyHop, **options: Any) -> str:
        with pytest.raises(HopDown) as raised:
            await send(self.hop(self.serve(faulty), **options))
        assert faulty.messages == []
        return raised.value.reason

    async def test_trouble_before_mail_is_the_hop_not_the_message(self) -> None:
        for verb in ("GREETING", "EHLO"):
            for answer in (DROP, b"421 4.3.2 no\r\n", b"451 4.3.0 no\r\n", b"what\r\n"):
                faulty = FaultyHop()
                faulty.answers[verb] = [answer]
                assert await self.down(faulty)

    async def test_nobody_listens(self) -> None:
        listening = reactor.listenTCP(0, FaultyHop(), interface="127.0.0.1")
        port = port_of(listening)
        await listening.stopListening()
        with pytest.raises(HopDown) as raised:
            await send(self.hop(port))
        assert "cannot connect" in raised.value.reason

    async def test_sign_in_refused_without_the_words_of_the_hop(self) -> None:
        faulty = FaultyHop(["AUTH PLAIN"])
        faulty.answers["AUTH"] = [b"535 5.7.8 AHUAcDRzcw==\r\n"]
        reason = await self.down(faulty, tls="none", user="u", password=SecretStr("p4ss"))
        assert reason == "hop refused our sign-in (535 5.7.8)"

    async def test_those_in_line_learn_that_the_hop_is_down(self) -> None:
        faulty = FaultyHop()
        faulty.answers["GREETING"] = [b"421 4.3.2 no\r\n"]
        hop = self.hop(self.serve(faulty), connections=1)
        results = await gatherResults([asynchronous(self.fails(hop)) for _ in range(4)])
        assert len(results) == 4
        assert faulty.connections == 1

    async def fails(self, hop: SmtpHop) -> None:
        with pytest.raises(HopDown):
            await send(hop)

    async def test_next_hop_when_the_first_is_down(self) -> None:
        first, second = FaultyHop(), FaultyHop()
        first.answers["GREETING"] = [b"421 4.3.2 no\r\n"]
        ports = [self.serve(first), self.serve(second)]
        hops = NextHops([self.hop(port) for port in ports], reactor)
        for _ in range(2):
            (outcome,) = await send(hops)
            assert (outcome.result, outcome.hop) == (Result.DELIVERED, f"127.0.0.1:{ports[1]}")
        assert first.connections == 1
