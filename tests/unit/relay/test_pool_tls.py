"""SmtpHop and TLS: which certificates count, and what happens where there is none."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.errors import ConfigError
from gateway.queue.model import Result, Spooled
from gateway.relay.connection import TlsFailed
from gateway.relay.hop import HopDown
from tests.unit.relay.faulty_hop import FaultyHop, message
from tests.unit.relay.hop_case import AUTHORITY, HopTest, ServerTls, send


class TlsTest(HopTest):
    async def test_starttls_with_a_good_certificate(self) -> None:
        faulty = FaultyHop(["STARTTLS", "AUTH PLAIN"], ServerTls("127.0.0.1"))
        options: dict[str, Any] = {
            "tls": "required",
            "verify": True,
            "ca": self.authority_file(),
            "user": "u",
            "password": SecretStr("p"),
        }
        (outcome,) = await send(self.hop(self.serve(faulty), **options))
        assert outcome.result == Result.DELIVERED
        assert faulty.verbs[:6] == ["GREETING", "EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]
        assert faulty.open[0].encrypted

    async def test_implicit_tls(self) -> None:
        faulty = FaultyHop(tls=ServerTls("localhost"), implicit=True)
        options: dict[str, Any] = {
            "kind": "smtps",
            "host": "localhost",
            "tls": "required",
            "verify": True,
            "ca": self.authority_file(),
        }
        (outcome,) = await send(self.hop(self.serve(faulty), **options))
        assert outcome.result == Result.DELIVERED

    async def test_a_large_body_goes_through_tls(self) -> None:
        self.bodies.blocks = [b"x" * 65_534 + b"\r\n"] * 64
        faulty = FaultyHop(["STARTTLS", "PIPELINING"], ServerTls("127.0.0.1"))
        await send(self.hop(self.serve(faulty), tls="required"), message(body=Spooled("big", 64 << 16)))
        assert len(faulty.messages[0]) == len(b"Subject: s\r\n\r\n") + (64 << 16)

    async def test_certificates_that_do_not_count(self) -> None:
        for name, authority, reason in (
            ("other.example", AUTHORITY, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
            ("127.0.0.1", trustme.CA(), "unable to get local issuer certificate"),
        ):
            for implicit in (False, True):
                faulty = FaultyHop(["STARTTLS"], ServerTls(name, authority), implicit=implicit)
                kind = "smtps" if implicit else "smtp"
                hop = self.hop(self.serve(faulty), kind=kind, tls="required", verify=True, ca=self.authority_file())
                with pytest.raises(TlsFailed) as raised:
                    await send(hop)
                assert raised.value.reason == f"TLS with the hop failed: the certificate is refused: {reason}"
                assert "MAIL" not in faulty.verbs

    async def test_unverified_takes_any_certificate(self) -> None:
        faulty = FaultyHop(["STARTTLS"], ServerTls("other.example"))
        (outcome,) = await send(self.hop(self.serve(faulty), tls="required", verify=False, host="localhost"))
        assert outcome.result == Result.DELIVERED
        assert faulty.open[0].encrypted

    async def test_required_but_not_offered(self) -> None:
        faulty = FaultyHop()
        with pytest.raises(HopDown) as raised:
            await send(self.hop(self.serve(faulty), tls="required"))
        assert raised.value.reason == "hop does not offer STARTTLS"
        assert "MAIL" not in faulty.verbs

    async def test_opportunistic_goes_on_in_clear(self) -> None:
        broken = FaultyHop(["STARTTLS"])
        broken.answers["STARTTLS"] = [b"220 go\r\n"]
        broken.tls = ServerTls()  # has no certificate to show: no handshake succeeds
        refusing = FaultyHop(["STARTTLS"])
        refusing.answers["STARTTLS"] = [b"454 4.7.0 not now\r\n"]
        for faulty, connections, reason in (
            (FaultyHop(), 1, "does not offer STARTTLS"),
            (refusing, 1, "refuses STARTTLS"),
            (broken, 2, "TLS with the hop failed"),
        ):
            with capture_logs() as logs:
                (outcome,) = await send(self.hop(self.serve(faulty), tls="opportunistic"))
            assert outcome.result == Result.DELIVERED
            assert [line["event"] for line in logs] == ["hop in clear"]
            assert reason in logs[0]["reason"]
            assert faulty.connections == connections
            assert not faulty.open[0].encrypted

    async def test_a_file_without_authorities_is_named(self) -> None:
        for path in (Path("/nonexistent/ca.pem"), Path(__file__)):
            with pytest.raises(ConfigError) as raised:
                self.hop(25, tls="required", verify=True, ca=path)
            assert str(path) in str(raised.value)

    async def test_tls_that_cannot_begin_is_told_at_once(self) -> None:
        """As when the system's policy for OpenSSL leaves no protocol."""
        for implicit in (False, True):
            faulty = FaultyHop(["STARTTLS", "AUTH PLAIN"], ServerTls("localhost"), implicit=implicit)
            hop = self.hop(self.serve(faulty), kind="smtps" if implicit else "smtp", tls="required", host="localhost")
            assert hop._tls is not None
            hop._tls._context.minimum_version = ssl.TLSVersion.TLSv1_3
            hop._tls._context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(TlsFailed) as raised:
                await send(hop)
            assert raised.value.reason == "TLS with the hop failed: no protocols available"
            assert not {"AUTH", "MAIL", "DATA"} & set(faulty.verbs)
