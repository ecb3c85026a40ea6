"""TLS as a client meets it: versions, names, renewed and broken certificates, nothing carried over from clear text."""

import signal
import smtplib
import ssl
from collections.abc import Mapping

import pytest
import trustme

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD, chain
from tests.acceptance.mail import message
from tests.acceptance.waiting import PATIENCE
from tests.acceptance.wire import Wire, greeted, signed_in

BRAND = "smtp.brand.example"
REFUSED = "new certificate refused, the old one stays in use"
RELOAD_REFUSED = "new configuration refused, the old one stays in use"


def certificate(gateway: GatewayProcess, name: str = "localhost") -> bytes:
    """What a new connection is shown, DER; verified against the authority."""
    with Wire(gateway.tls) as wire:
        wire.start_tls(gateway.context(), name)
        assert isinstance(wire.sock, ssl.SSLSocket)
        shown = wire.sock.getpeercert(True)
        assert shown
        return shown


def der(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_1_2_and_1_3_work(gateway: GatewayProcess, version: ssl.TLSVersion) -> None:
    context = gateway.context()
    context.minimum_version = context.maximum_version = version
    with smtplib.SMTP("localhost", gateway.starttls, timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.login(LOGIN, PASSWORD)
    with smtplib.SMTP_SSL("localhost", gateway.tls, context=context, timeout=PATIENCE) as client:
        assert client.sock is not None
        assert client.noop()[0] == 250
    labels = f'smtp_gateway_tls_handshakes_total{{result="ok",version="{version.name.replace("_", ".")}"}} 2.0'
    assert labels in gateway.get("/metrics")[1]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_1_1_is_refused_by_the_gateway(gateway: GatewayProcess) -> None:
    context = gateway.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # or our own side would refuse first
    with Wire(gateway.tls) as wire, pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        wire.start_tls(context)
    certificate(gateway)


def test_1_2_is_refused_where_1_3_is_the_least(install: Install) -> None:
    gateway = install(tls={"min_version": "1.3"}).start()
    context = gateway.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Wire(gateway.tls) as wire, pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        wire.start_tls(context)


def test_each_name_has_its_certificate(install: Install, ca: trustme.CA) -> None:
    gateway = install(tls={"sni": [{"names": [BRAND], "certificate": "brand.pem", "key": "brand.key"}]})
    leaf = ca.issue_cert(BRAND)
    (gateway.at.folder / "brand.pem").write_bytes(chain(leaf))
    leaf.private_key_pem.write_to_path(gateway.at.folder / "brand.key")
    gateway.start()
    assert certificate(gateway, BRAND) == der(leaf)
    assert certificate(gateway, BRAND.upper()) == der(leaf)
    assert certificate(gateway, "localhost") != der(leaf)
    with Wire(gateway.starttls) as wire:  # the same over STARTTLS
        wire.reply()
        wire.command("EHLO test.example")
        assert wire.command("STARTTLS").code == 220
        wire.start_tls(gateway.context(), BRAND)
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.sock.getpeercert(True) == der(leaf)


@pytest.mark.parametrize("hup", [True, False], ids=["SIGHUP", "by itself"])
def test_a_renewed_certificate_is_taken_and_an_open_session_survives(
    gateway: GatewayProcess, ca: trustme.CA, hup: bool
) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        leaf = gateway.at.renew(ca)
        if hup:
            gateway.signal(signal.SIGHUP)
        gateway.until_logged("configuration reloaded" if hup else "certificates loaded")
        assert certificate(gateway) == der(leaf)
        assert wire.data(message()).code == 250
        assert wire.command("NOOP").code == 250


BAD_FILES: Mapping[str, bytes] = {"no certificate": b"nothing\n", "empty": b""}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_certificate_file_keeps_the_old_one(gateway: GatewayProcess, ca: trustme.CA, content: bytes) -> None:
    before = certificate(gateway)
    gateway.at.certificate.write_bytes(content)
    gateway.signal(signal.SIGHUP)
    (line,) = gateway.until_logged(RELOAD_REFUSED)
    assert "tls.certificate" in str(line["problems"])
    assert certificate(gateway) == before
    leaf = gateway.at.renew(ca)
    gateway.signal(signal.SIGHUP)
    gateway.until_logged("configuration reloaded")
    assert certificate(gateway) == der(leaf)


def test_a_key_of_another_certificate_is_refused_by_itself(gateway: GatewayProcess, ca: trustme.CA) -> None:
    before = certificate(gateway)
    new = gateway.at.key.with_suffix(".new")
    ca.issue_cert("localhost").private_key_pem.write_to_path(new)
    new.rename(gateway.at.key)  # in one step: it is looked at by itself
    (line,) = gateway.until_logged(REFUSED)
    assert "tls.key" in str(line["problems"])
    assert "does not belong" in str(line["problems"])
    assert certificate(gateway) == before


def test_commands_behind_starttls_are_dropped(gateway: GatewayProcess) -> None:
    """CVE-2011-0411: what an attacker puts into the clear part must not be run inside TLS."""
    with Wire(gateway.starttls) as wire:
        wire.reply()
        wire.command("EHLO test.example")
        wire.send(b"STARTTLS\r\nEHLO injected.example\r\nNOOP\r\nRSET\r\n")
        assert wire.reply().code == 220
        wire.start_tls(gateway.context())
        assert wire.command(f"MAIL FROM:<{LOGIN}>").head == "503 5.5.1"  # no EHLO has been said inside
        assert wire.command("NOOP").code == 250
        wire.send(b"QUIT\r\n")
        assert wire.rest().count(b"\r\n") == 1  # one command, one reply: nothing else was run


def test_a_first_start_makes_a_certificate_that_can_be_trusted_by_file(install: Install) -> None:
    gateway = install()
    gateway.at.settings.pop("tls")
    gateway.at.write_settings()
    gateway.start()
    file = gateway.at.state / "self-signed.pem"
    assert file.with_suffix(".key").stat().st_mode & 0o777 == 0o600
    gateway.at.authorities.write_bytes(file.read_bytes())
    with greeted(gateway) as wire:  # verified, by name
        assert wire.command("NOOP").code == 250
    shown = certificate(gateway)
    gateway.stop()
    gateway.start()
    assert certificate(gateway) == shown  # made once
