"""SmtpHop against a server that falls silent: each stage has its limit, and nobody waits for ever."""

import socket
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.net import keepalive
from gateway.queue.model import Result, Spooled
from gateway.relay.connection import LIMITS, TlsFailed
from gateway.relay.hop import HopDown
from gateway.relay.pool import SmtpHop
from gateway.smtp.client_events import Stage
from tests.unit.relay.faulty_hop import SILENT, FaultyHop, message
from tests.unit.relay.hop_case import HopTest, send


class SilenceTest(HopTest):
    """A hop that says nothing more, at each stage; only the limit of that stage is short here."""

    def quick(self, faulty: FaultyHop, stage: Stage, *, seconds: float = 0.05, **options: Any) -> SmtpHop:
        return self.hop(self.serve(faulty), limits={**LIMITS, stage: seconds}, **options)

    async def test_the_kernel_watches_a_hop_that_says_nothing(self) -> None:
        """One that vanished without a reset stopped all delivery for 330 s."""
        hop = self.hop(self.serve(FaultyHop()))
        await send(hop)
        (connection,) = hop._idle
        handle: socket.socket = connection._transport().getHandle()
        option = handle.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == keepalive.UNACKNOWLEDGED <= 60_000
        idle, interval = option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        assert idle + interval * option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) <= 60

    async def test_while_setting_up_is_a_hop_that_is_down(self) -> None:
        for verb, stage in (
            ("GREETING", Stage.GREETING),
            ("EHLO", Stage.HELLO),
            ("STARTTLS", Stage.STARTTLS),
            ("AUTH", Stage.AUTH),
        ):
            faulty = FaultyHop(["AUTH PLAIN"] if verb == "AUTH" else ["STARTTLS"])
            faulty.answers[verb] = [SILENT]
            options: dict[str, Any] = {"user": "u", "password": SecretStr("p")} if verb == "AUTH" else {}
            hop = self.quick(faulty, stage, tls="none" if verb == "AUTH" else "opportunistic", **options)
            with pytest.raises(HopDown) as raised:
                await send(hop)
            assert raised.value.reason == f"timed out {stage.value}"
            await faulty.until_open(0)

    async def test_in_the_handshake_is_a_hop_that_is_down(self) -> None:
        faulty = FaultyHop(["STARTTLS"])
        faulty.answers["STARTTLS"] = [b"220 go\r\n"]
        faulty.tls = None  # it never speaks TLS
        with pytest.raises(TlsFailed) as raised:
            await send(self.quick(faulty, Stage.HELLO, seconds=2.0, tls="required", verify=False))  # EHLO's limit as well
        assert raised.value.reason == "TLS with the hop failed: timed out"
        await faulty.until_open(0)

    async def test_in_a_transaction_is_a_retry(self) -> None:
        for verb, stage in (("MAIL", Stage.MAIL), ("RCPT", Stage.RCPT), ("DATA", Stage.DATA), ("DOT", Stage.DOT)):
            for extensions in (["PIPELINING"], ["SIZE 0"]):
                faulty = FaultyHop(extensions)
                faulty.answers[verb] = [SILENT]
                faulty.mute = True
                hop = self.quick(faulty, stage)
                (outcome,) = await send(hop)
                assert (outcome.result, outcome.code, outcome.enhanced) == (Result.RETRY, 0, "4.4.2")
                assert outcome.text == f"timed out {stage.value}"
                assert outcome.unconfirmed == (verb == "DOT")
                await faulty.until_open(0)
                assert len(faulty.messages) == (verb == "DOT")

    async def test_a_hop_that_stops_reading_the_message_is_a_retry(self) -> None:
        self.bodies.blocks = [b"x" * 262_142 + b"\r\n"] * 200
        faulty = FaultyHop()
        faulty.on_data = faulty.stop_reading
        hop = self.quick(faulty, Stage.BODY)
        (outcome,) = await send(hop, message(body=Spooled("big", 200 << 18)))
        assert (outcome.result, outcome.enhanced, outcome.unconfirmed) == (Result.RETRY, "4.4.2", False)
        assert outcome.text == "timed out while the message was being sent"
        assert self.bodies.readers[0].reads < 200
