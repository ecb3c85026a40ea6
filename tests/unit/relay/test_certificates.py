"""Certificates of next hops: which are taken, and that nothing of the mail leaves before one is refused."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IResolverSimple
from zope.interface import implementer

from gateway.queue.model import Result
from gateway.relay.connection import TlsFailed
from tests.unit.relay.faulty_hop import FaultyHop
from tests.unit.relay.hop_case import HopTest, ServerTls, reactor, send

NOW = datetime.now(UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
AUTHORITY_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests' authority")])
SECRET = "the password of the hop"


def signed(
    common_name: str, extension: x509.ExtensionType | None, *, ends: timedelta = timedelta(days=1), ca: bool = False
) -> Any:
    subject = AUTHORITY_NAME if ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(AUTHORITY_NAME)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def names(*texts: str) -> x509.SubjectAlternativeName:
    """ "DNS:a.example", "IP:127.0.0.1", "email:a@x.example", "URI:smtp://x" """
    kinds: dict[str, Any] = {
        "DNS": x509.DNSName,
        "IP": lambda text: x509.IPAddress(ip_address(text)),
        "email": x509.RFC822Name,
        "URI": x509.UniformResourceIdentifier,
    }
    return x509.SubjectAlternativeName([kinds[kind](value) for kind, _, value in (text.partition(":") for text in texts)])


class CertificateTls(ServerTls):
    """A server with this certificate."""

    def __init__(self, certificate: Any) -> None:
        super().__init__()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            pem = serialization.Encoding.PEM
            key = KEY.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            path.write_bytes(certificate.public_bytes(pem) + key)
            self.context.load_cert_chain(path)


@implementer(IResolverSimple)
class EveryNameIsHere:
    def getHostByName(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:
        return succeed("127.0.0.1")


BAD: list[tuple[str, str, Sequence[str] | None]] = [
    # host, common name, alternative names (None: no such extension)
    ("localhost", "localhost", None),
    ("127.0.0.1", "127.0.0.1", None),
    ("localhost", "localhost", ["email:postmaster@localhost"]),
    ("localhost", "localhost", ["URI:smtp://localhost"]),
    ("localhost", "", ["DNS:*.x"]),
    ("localhost", "", ["DNS:12345"]),
    ("localhost", "", ["DNS:*.localhost"]),
    ("localhost", "", ["DNS:*"]),
    ("localhost", "", ["DNS:l*"]),
    ("localhost", "", ["DNS:localhost.example"]),
    ("localhost", "", ["DNS:.localhost"]),
    ("localhost", "", ["IP:127.0.0.1"]),
    ("127.0.0.1", "", ["DNS:127.0.0.1"]),
    ("127.0.0.1", "", ["DNS:localhost"]),
    ("127.0.0.1", "", ["IP:127.0.0.2"]),
    ("127.0.0.1", "", ["DNS:*.0.0.1"]),
    ("mx.smart.example", "", ["DNS:*.example"]),
    ("mx.smart.example", "", ["DNS:smart.example"]),
    ("a.mx.smart.example", "", ["DNS:*.smart.example"]),
    ("mx.smart.example", "", ["DNS:m*.smart.example"]),
    ("mx.smart.example", "mx.smart.example", ["DNS:other.example"]),
]

GOOD = [
    ("localhost", ["DNS:localhost"]),
    ("localhost", ["email:x@y.example", "DNS:*.x", "DNS:LocalHost"]),
    ("127.0.0.1", ["IP:127.0.0.1"]),
    ("mx.smart.example", ["DNS:mx.smart.example"]),
    ("mx.smart.example", ["DNS:*.smart.example"]),
]


class CertificateTest(HopTest):
    def setUp(self) -> None:
        super().setUp()
        installed = reactor.nameResolver
        self.addCleanup(reactor.installNameResolver, installed)
        reactor.installResolver(EveryNameIsHere())
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.authority = Path(folder.name) / "ca.pem"
        self.authority.write_bytes(signed("", None, ca=True).public_bytes(serialization.Encoding.PEM))

    async def refused(self, host: str, tls: Any, *, implicit: bool) -> str:
        """The reason; nothing of password and mail has left."""
        faulty = FaultyHop(["STARTTLS", "AUTH PLAIN"], tls, implicit=implicit)
        options: dict[str, Any] = {"user": "u", "password": SecretStr(SECRET), "tls": "required", "verify": True}
        kind = "smtps" if implicit else "smtp"
        hop = self.hop(self.serve(faulty), kind=kind, host=host, ca=self.authority, **options)
        with pytest.raises(TlsFailed) as raised:
            await send(hop)
        assert not {"AUTH", "MAIL", "DATA"} & set(faulty.verbs)
        assert faulty.verbs.count("EHLO") <= 1
        assert faulty.messages == []
        return raised.value.reason

    async def test_a_certificate_without_the_hops_name_is_refused(self) -> None:
        for host, common_name, alternatives in BAD:
            tls = CertificateTls(signed(common_name or "x", None if alternatives is None else names(*alternatives)))
            for implicit in (False, True):
                reason = await self.refused(host, tls, implicit=implicit)
                assert f"certificate is not valid for '{host}'" in reason, (host, alternatives, reason)

    async def test_an_expired_certificate_is_refused(self) -> None:
        tls = CertificateTls(signed("x", names("DNS:localhost"), ends=-timedelta(days=1)))
        assert "certificate has expired" in await self.refused("localhost", tls, implicit=False)

    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        for tls in (ServerTls("localhost"), ServerTls("127.0.0.1")):
            assert "the certificate is refused" in await self.refused("localhost", tls, implicit=True)

    async def test_a_good_certificate_is_taken(self) -> None:
        for host, alternatives in GOOD:
            faulty = FaultyHop(["STARTTLS"], CertificateTls(signed("x", names(*alternatives))))
            hop = self.hop(self.serve(faulty), host=host, tls="required", verify=True, ca=self.authority)
            (outcome,) = await send(hop)
            assert outcome.result == Result.DELIVERED, (host, alternatives)
            assert faulty.open[0].encrypted

    async def test_an_error_within_the_check_refuses_at_once(self) -> None:
        """Whatever goes wrong there, OpenSSL's or ours, is a refusal."""
        good = CertificateTls(signed("x", names("DNS:localhost")))
        for error in (RuntimeError("a bug"), ValueError("odd"), ssl.SSLError(1, "odd"), ssl.CertificateError("odd")):
            for implicit in (False, True):
                for begun in (True, False):
                    patch = self.patch(ssl.SSLObject, "do_handshake", _failing(error, begun))  # type: ignore[no-untyped-call]
                    reason = await self.refused("localhost", good, implicit=implicit)
                    patch.restore()
                    assert "timed out" not in reason, (error, implicit, begun)
                    bugs = [failure.value for failure in self.flushLoggedErrors()]  # type: ignore[no-untyped-call]
                    assert all(bug is error for bug in bugs), bugs


def _failing(error: Exception, begun: bool) -> Any:
    """`begun`: after OpenSSL's part, else in place of it, before a first octet."""
    real = ssl.SSLObject.do_handshake

    def do_handshake(tls: ssl.SSLObject) -> None:
        if begun or tls.server_side:
            real(tls)
        if not tls.server_side:
            raise error

    return do_handshake
