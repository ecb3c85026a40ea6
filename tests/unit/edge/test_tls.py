"""TLS through real sockets: STARTTLS and implicit, which certificate a client gets, renewal, and broken handshakes."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme
from cryptography import x509
from OpenSSL import SSL
from structlog.testing import capture_logs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from gateway.config import Listen
from gateway.edge.listener import SubmissionFactory
from gateway.edge.server import SubmissionProtocol
from gateway.edge.tls import ServerTls
from gateway.errors import ConfigError
from tests.harness import Gateway, Security
from tests.proxy_header import version1, version2
from tests.unit.edge.certificate_files import AUTHORITY, NOW, settings, write_pair, write_short_key
from tests.unit.edge.line import AUTH, ENVELOPE, HELLO, MESSAGE

reactor: Any = global_reactor
SNI = '[[tls.sni]]\nnames = ["brand.example", "Second.Brand.example"]\ncertificate = "b.pem"\nkey = "b.key"'
PAIR = 'certificate = "a.pem"\nkey = "a.key"\n'


@implementer(IOpenSSLClientConnectionCreator)
class ClientTls:
    """A client that trusts AUTHORITY, asks for `name`, and speaks no TLS above `newest`."""

    def __init__(self, name: str = "", newest: int = SSL.TLS1_3_VERSION, authority: trustme.CA = AUTHORITY) -> None:
        self._name = name
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        authority.configure_trust(self._context)
        self._context.set_verify(SSL.VERIFY_PEER)
        self._context.set_min_proto_version(SSL.TLS1_VERSION)
        self._context.set_max_proto_version(newest)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name:
            connection.set_tlsext_host_name(self._name.encode())
        return connection


class Talk(Protocol):
    """The client's end: waits for replies by their codes."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost: Failure | None = None
        self._wanted: tuple[bytes, Deferred[bytes]] | None = None
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        wanted, self._wanted = self._wanted, None
        self.gone.callback(None)
        if wanted is not None:
            wanted[1].errback(reason)

    def say(self, octets: bytes) -> None:
        transport: Any = self.transport
        transport.write(octets)

    def until(self, reply: bytes) -> Deferred[bytes]:
        """Everything up to a last line that begins with `reply`; fails when the connection ends first."""
        waiting: Deferred[bytes] = Deferred()
        self._wanted = reply, waiting
        if self.lost is not None:
            self._wanted = None
            waiting.errback(self.lost)
        self._look()
        return waiting

    def start_tls(self, tls: ClientTls) -> None:
        transport: Any = self.transport
        transport.startTLS(tls)

    def _look(self) -> None:
        if self._wanted is None:
            return
        start, waiting = self._wanted
        lines = self.heard.split(b"\r\n")
        for number, line in enumerate(lines[:-1]):
            if line.startswith(start + b" "):
                self._wanted = None
                said = b"\r\n".join(lines[: number + 1])
                self.heard = b"\r\n".join(lines[number + 1 :])
                waiting.callback(said)
                return


class TlsTest(TestCase):
    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        write_pair(self.folder, "a", "smtp.example.com")
        write_pair(self.folder, "b", "brand.example", "second.brand.example")
        self.gateway = Gateway()
        self.gateway.edge.clock = reactor
        self.now = NOW

    def serve(self, security: Security, tls: str = PAIR, proxies: tuple[str, ...] = ()) -> None:
        self.tls = self.gateway.edge.tls = ServerTls(settings(self.folder, tls), lambda: self.now)
        listen = Listen(security=security, proxy_protocol_from=proxies)  # type: ignore[arg-type]
        listening = reactor.listenTCP(0, SubmissionFactory(self.gateway.edge, listen), interface="127.0.0.1")
        self.port = listening.getHost().port
        self.addCleanup(self.end)
        self.addCleanup(listening.stopListening)

    def end(self) -> Deferred[None]:
        gone = self.gateway.edge.drain()
        self.gateway.edge.abort()
        return gone

    def connect(self) -> Deferred[Talk]:
        talk = Talk()
        self.addCleanup(self.drop, talk)
        connected: Deferred[Talk] = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), talk)
        return connected

    def drop(self, talk: Talk) -> Deferred[None] | None:
        transport: Any = talk.transport
        if talk.lost is None:
            transport.abortConnection()
        return talk.gone

    @inlineCallbacks
    def implicit(self, client: ClientTls) -> Any:
        """A greeted client of an implicit TLS listener."""
        talk = yield self.connect()
        talk.start_tls(client)
        yield talk.until(b"220")
        return talk

    def handshakes(self, version: str, result: str) -> float | None:
        labels = {"version": version, "result": result}
        return self.gateway.registry.get_sample_value("smtp_gateway_tls_handshakes_total", labels)

    @inlineCallbacks
    def test_a_message_over_implicit_tls(self) -> Any:
        self.serve("tls")
        talk = yield self.implicit(ClientTls())
        talk.say(HELLO + AUTH)
        extensions = yield talk.until(b"250")
        assert b"STARTTLS" not in extensions
        assert b"AUTH PLAIN LOGIN" in extensions
        yield talk.until(b"235")
        talk.say(ENVELOPE)
        yield talk.until(b"354")
        talk.say(MESSAGE + b"QUIT\r\n")
        yield talk.until(b"221")
        yield talk.gone
        assert talk.lost.check(ConnectionDone)
        assert len(self.gateway.queued) == 1
        assert self.handshakes("TLSv1.3", "ok") == 1
        assert b"ESMTPSA" in self.gateway.queued[0].header

    @inlineCallbacks
    def test_a_proxys_header_stands_before_implicit_tls(self) -> Any:
        self.serve("tls", proxies=("127.0.0.0/8",))
        for client in ("203.0.113.9", "2001:db8::9"):
            for header in (version1(client), version2(client)):
                talk = yield self.connect()
                talk.say(header)
                talk.start_tls(ClientTls())
                yield talk.until(b"220")
                talk.say(HELLO + AUTH)
                yield talk.until(b"235")
        assert self.handshakes("TLSv1.3", "ok") == 4
        sessions = [each for each in self.gateway.edge.sessions if isinstance(each, SubmissionProtocol)]
        assert {session._peer.address for session in sessions} == {"203.0.113.9", "2001:db8::9"}

    @inlineCallbacks
    def test_a_handshake_without_a_proxys_header_is_refused(self) -> Any:
        self.serve("tls", proxies=("127.0.0.0/8",))
        yield self.refused(ClientTls())
        labels = {"listener": "127.0.0.1:2587", "result": "proxy_refused"}
        assert self.gateway.registry.get_sample_value("smtp_gateway_connections_total", labels) == 1
        assert self.handshakes("none", "failed") is None

    @inlineCallbacks
    def test_a_message_over_starttls(self) -> Any:
        self.serve("starttls")
        talk = yield self.connect()
        talk.say(HELLO + b"STARTTLS\r\n")
        yield talk.until(b"220")
        assert b"STARTTLS" in (yield talk.until(b"250"))
        yield talk.until(b"220")
        talk.start_tls(ClientTls())
        talk.say(b"MAIL FROM:<demo@example.com>\r\n")
        yield talk.until(b"503")  # what was said in clear does not count
        talk.say(HELLO + AUTH + ENVELOPE)
        yield talk.until(b"354")
        talk.say(MESSAGE)
        yield talk.until(b"250")
        assert len(self.gateway.queued) == 1

    @inlineCallbacks
    def test_a_large_message(self) -> Any:
        self.gateway.limit(message_size=30_000_000)
        self.gateway.sign_in.judge.ceiling = 30_000_000
        self.serve("tls")
        talk = yield self.implicit(ClientTls())
        talk.say(HELLO + AUTH + ENVELOPE)
        yield talk.until(b"354")
        line = b"x" * 998 + b"\r\n"
        talk.say(b"Subject: large\r\n\r\n" + line * 10_000 + b".\r\n")
        yield talk.until(b"250")
        _, body = self.gateway.content(self.gateway.queued[0])
        assert body == line * 10_000

    @inlineCallbacks
    def test_the_certificate_is_that_of_the_name_asked_for(self) -> Any:
        self.serve("tls", PAIR + SNI)
        for name, shown in {
            "": "smtp.example.com",
            "unknown.example": "smtp.example.com",
            "brand.example": "brand.example",
            "SECOND.brand.example": "brand.example",
        }.items():
            talk = yield self.implicit(ClientTls(name))
            assert shown in self.shown(talk), name

    @inlineCallbacks
    def test_where_there_is_one_certificate_any_name_gets_it(self) -> Any:
        self.serve("tls")
        for name in ("unknown.example", "b\u00fccher.example", "..", "x" * 250):
            talk = yield self.implicit(ClientTls(name))
            assert self.shown(talk) == ["smtp.example.com"], name

    def shown(self, talk: Talk) -> list[str]:
        transport: Any = talk.transport
        certificate = transport.getPeerCertificate().to_cryptography()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name) for name in names.get_values_for_type(x509.DNSName)]

    @inlineCallbacks
    def test_versions(self) -> Any:
        self.serve("tls")
        yield self.implicit(ClientTls(newest=SSL.TLS1_2_VERSION))
        assert self.handshakes("TLSv1.2", "ok") == 1
        yield self.refused(ClientTls(newest=SSL.TLS1_1_VERSION))
        assert self.handshakes("none", "failed") == 1

    @inlineCallbacks
    def test_only_tls_1_3(self) -> Any:
        self.serve("tls", PAIR + 'min_version = "1.3"')
        yield self.refused(ClientTls(newest=SSL.TLS1_2_VERSION))
        yield self.implicit(ClientTls())

    @inlineCallbacks
    def refused(self, client: ClientTls) -> Any:
        talk = yield self.connect()
        talk.start_tls(client)
        yield talk.gone
        yield self.all_gone()
        assert talk.heard == b""

    def all_gone(self) -> Deferred[None]:
        """Fires when the gateway has no session left."""
        gone = self.gateway.edge.drain()
        self.gateway.edge.draining = False
        return gone

    @inlineCallbacks
    def test_octets_that_are_no_handshake(self) -> Any:
        self.serve("tls")
        talk = yield self.connect()
        talk.say(HELLO)
        yield talk.gone
        yield self.all_gone()
        assert self.handshakes("none", "failed") == 1
        assert self.gateway.registry.get_sample_value("smtp_gateway_connections", {"listener": "127.0.0.1:2587"}) == 0

    @inlineCallbacks
    def test_a_client_that_distrusts_us(self) -> Any:
        self.serve("tls")
        yield self.refused(ClientTls(authority=trustme.CA()))
        assert not self.gateway.edge.sessions

    @inlineCallbacks
    def test_shutting_down_says_so_over_tls(self) -> Any:
        self.serve("tls")
        talk = yield self.implicit(ClientTls())
        gone = self.gateway.edge.drain()
        yield talk.until(b"421")
        yield talk.gone
        yield gone
        assert talk.lost.check(ConnectionDone)

    @inlineCallbacks
    def test_a_renewed_certificate_is_picked_up_and_sessions_go_on(self) -> Any:
        self.serve("tls")
        before = yield self.implicit(ClientTls())
        write_pair(self.folder, "a", "renewed.example.com", days=60)
        with capture_logs() as logs:
            self.tls.load_if_changed(settings(self.folder))
            self.tls.load_if_changed(settings(self.folder))
        assert [entry["event"] for entry in logs] == ["certificates loaded"]
        after = yield self.implicit(ClientTls())
        assert self.shown(before) == ["smtp.example.com"]
        assert self.shown(after) == ["renewed.example.com"]
        before.say(b"NOOP\r\n")
        yield before.until(b"250")
        assert self.tls.expires == pytest.approx(NOW + 60 * 86400, abs=60)

    @inlineCallbacks
    def test_a_bad_file_keeps_the_old_one_and_is_said_once(self) -> Any:
        self.serve("tls")
        good = (self.folder / "a.pem").read_bytes()
        (self.folder / "a.pem").write_bytes(b"half of a fi")
        with capture_logs() as logs:
            for _ in range(3):
                self.tls.load_if_changed(settings(self.folder))
        assert [entry["event"] for entry in logs] == ["new certificate refused, the old one stays in use"]
        talk = yield self.implicit(ClientTls())
        assert self.shown(talk) == ["smtp.example.com"]
        (self.folder / "a.pem").write_bytes(good)
        with capture_logs() as logs:
            self.tls.load_if_changed(settings(self.folder))
        assert [entry["event"] for entry in logs] == ["certificates loaded"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pair(tmp_path, "a", "smtp.example.com")
    write_pair(tmp_path, "b", "brand.example", days=5)
    return tmp_path


def test_all_faults_are_named_at_once(folder: Path) -> None:
    write_pair(folder, "old", "smtp.example.com", days=-1)
    (folder / "b.key").unlink()
    tls = f'certificate = "old.pem"\nkey = "old.key"\n{SNI}'
    with pytest.raises(ConfigError) as caught:
        ServerTls(settings(folder, tls), lambda: NOW)
    first, second = caught.value.problems
    assert first.startswith("tls.certificate: is valid from ")
    assert second == f"tls.sni.1.key: cannot read {folder}/b.key: No such file or directory"


def test_a_key_that_openssl_refuses_is_a_fault_like_any_other(folder: Path) -> None:
    write_short_key(folder, "short")
    with pytest.raises(ConfigError) as caught:
        ServerTls(settings(folder, 'certificate = "short.pem"\nkey = "short.key"'), lambda: NOW)
    assert caught.value.problems == ["tls: TLS cannot use this certificate and key: ee key too small"]


def test_a_load_that_fails_changes_nothing(folder: Path) -> None:
    tls = ServerTls(settings(folder), lambda: NOW)
    before = tls.expires
    (folder / "b.key").write_bytes(b"")
    with pytest.raises(ConfigError):
        tls.load(settings(folder, PAIR + SNI))
    assert tls.expires == before


def test_the_certificate_that_ends_first_is_the_one_to_watch(folder: Path) -> None:
    tls = ServerTls(settings(folder, PAIR + SNI), lambda: NOW)
    assert tls.expires == pytest.approx(NOW + 5 * 86400, abs=3600)
    assert not tls.is_self_signed


def test_without_a_certificate_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    tls = ServerTls(settings(tmp_path, ""), lambda: NOW)
    assert tls.is_self_signed
    assert (tmp_path / "var" / "self-signed.pem").exists()


def test_a_name_that_is_not_ascii_is_refused_and_not_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    tls = ServerTls(settings(folder, PAIR + SNI), lambda: NOW)
    client = ClientTls("brand\xff.example").clientConnectionForTLS(TLSMemoryBIOProtocol(None, None))
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    wire: Any = StringTransport()
    tls.start(wire, Protocol())
    wire.protocol.dataReceived(client.bio_read(1 << 16))
    assert wire.disconnecting
    assert capsys.readouterr().err == ""
