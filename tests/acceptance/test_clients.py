"""Real mail clients, signed in with the account's own password, over STARTTLS and over implicit TLS."""

import re
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD, require_program
from tests.acceptance.mail import message, parts, unix, until_arrived
from tests.acceptance.waiting import PATIENCE

Send = Callable[[GatewayProcess, bool, Path], None]
RECIPIENT = "bob@example.net"
RECEIVED = re.compile(
    rb"Received: by gateway\.example with ESMTPSA\n"
    rb"\tid [0-9A-Za-z]+\n\ttls TLS_[0-9A-Z_]+; \w{3}, \d\d? \w{3} \d{4} [0-9:]{8} \+0000\n"
)


def _smtplib(gateway: GatewayProcess, implicit: bool, file: Path) -> None:
    context = gateway.context()
    client: smtplib.SMTP
    if implicit:
        client = smtplib.SMTP_SSL("localhost", gateway.tls, context=context, timeout=PATIENCE)
    else:
        client = smtplib.SMTP("localhost", gateway.starttls, timeout=PATIENCE)
        client.starttls(context=context)
    with client:
        client.login(LOGIN, PASSWORD)
        client.sendmail(LOGIN, [RECIPIENT], file.read_bytes())


def _curl(gateway: GatewayProcess, implicit: bool, file: Path) -> None:
    url = f"smtps://localhost:{gateway.tls}" if implicit else f"smtp://localhost:{gateway.starttls}"
    options = ["--silent", "--show-error", "--verbose", "--ssl-reqd", "--cacert", str(gateway.at.authorities)]
    envelope = ["--mail-from", LOGIN, "--mail-rcpt", RECIPIENT, "--upload-file", str(file)]
    _run(require_program("curl"), *options, "--user", f"{LOGIN}:{PASSWORD}", *envelope, url)


def _swaks(gateway: GatewayProcess, implicit: bool, file: Path) -> None:
    port = gateway.tls if implicit else gateway.starttls
    tls = ["--tls-on-connect" if implicit else "--tls", "--tls-verify", "--tls-ca-path", str(gateway.at.authorities)]
    who = ["--auth", "LOGIN", "--auth-user", LOGIN, "--auth-password", PASSWORD, "--from", LOGIN, "--to", RECIPIENT]
    _run(require_program("swaks"), "--server", f"localhost:{port}", *tls, *who, "--data", f"@{file}")


def _msmtp(gateway: GatewayProcess, implicit: bool, file: Path) -> None:
    port = gateway.tls if implicit else gateway.starttls
    tls = ["--tls=on", f"--tls-starttls={'off' if implicit else 'on'}", f"--tls-trust-file={gateway.at.authorities}"]
    who = ["--auth=plain", f"--user={LOGIN}", f"--passwordeval=echo {PASSWORD}", f"--from={LOGIN}"]
    _run(require_program("msmtp"), "--host=localhost", f"--port={port}", *tls, *who, "--", RECIPIENT, stdin=file.read_bytes())


def _run(*command: str, stdin: bytes | None = None) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout!r} {done.stderr!r}"


CLIENTS: dict[str, Send] = {"smtplib": _smtplib, "curl": _curl, "swaks": _swaks, "msmtp": _msmtp}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_sends_over_starttls_and_tls(gateway: GatewayProcess, client: str, tmp_path: Path) -> None:
    if client != "smtplib":
        require_program(client)
    for implicit in (False, True):
        file = tmp_path / "message"
        file.write_bytes(message(f"{client}-{implicit}", extra=b"Bcc : hidden@example.net\r\nX-Odd:  kept \t as it is\r\n"))
        CLIENTS[client](gateway, implicit, file)
        stored = [each for each in until_arrived(gateway, RECIPIENT, 1 + implicit) if f"{client}-{implicit}@".encode() in each]
        assert len(stored) == 1
        # swaks ends what it sends with an empty line of its own
        _check(stored[0], file.read_bytes() + (b"\r\n" if client == "swaks" else b""))


def _check(stored: bytes, sent: bytes) -> None:
    """One Received on top, Bcc gone, and nothing else touched."""
    header, body = parts(stored)
    sent_header, sent_body = parts(sent)
    trace = f"Return-Path: <{LOGIN}>\nDelivered-To: {RECIPIENT}\n".encode()
    assert header.startswith(trace)
    received = RECEIVED.match(header, len(trace))
    assert received, header
    kept = unix(sent_header).replace(b"Bcc : hidden@example.net\n", b"")
    assert header[received.end() :] == kept
    assert body == unix(sent_body)
    assert b"hidden" not in stored


def test_missing_fields_are_added(gateway: GatewayProcess, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"Subject: bare\r\n\r\nhi\r\n")
    _smtplib(gateway, False, tmp_path / "message")
    header, body = parts(until_arrived(gateway, RECIPIENT)[0])
    added = rb"\nSubject: bare\nDate: [^\n]+ \+0000\nMessage-ID: <[^@\n]+@gateway\.example>\nFrom: ann@example\.com\n$"
    assert re.search(added, header)
    assert body == b"hi\n"


def test_a_unix_file_of_curl_arrives_with_its_lines(gateway: GatewayProcess, tmp_path: Path) -> None:
    """`curl -T` sends bare line feeds as they are."""
    require_program("curl")
    file = tmp_path / "message"
    file.write_bytes(unix(message("unix", body=b"one\r\n.\r\ntwo\r\n")))
    _curl(gateway, False, file)
    # the empty line is curl's: it sends CRLF.CRLF behind a file that does not end with CRLF
    assert parts(until_arrived(gateway, RECIPIENT)[0])[1] == b"one\n.\ntwo\n\n"


OVER = {
    "defer": "4.7.1 Daily limit of 1 recipients reached; it resets at 00:00 UTC, in ",
    "suspend": "5.7.1 Sending is suspended: this account went over its daily limit; the operator of this service can lift it",
}


@pytest.mark.parametrize("action", OVER)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_over_the_daily_limit_fails_and_shows_why(install: Install, client: str, action: str, tmp_path: Path) -> None:
    if client != "smtplib":
        require_program(client)
    gateway = install(limits={"daily_recipients": 1, "on_daily_limit": action}).start()
    file = tmp_path / "message"
    for name in ("first", "second", "third"):
        file.write_bytes(message(name))
        if name == "first":
            CLIENTS[client](gateway, False, file)
            continue
        with pytest.raises((AssertionError, smtplib.SMTPException)) as failed:
            CLIENTS[client](gateway, True, file)
        assert OVER[action] in str(failed.value)
    assert len(gateway.logged("accepted")) == 1


@pytest.mark.parametrize("client", ["curl", "swaks", "msmtp", "smtplib"])
def test_a_client_that_trusts_another_authority_sends_nothing(gateway: GatewayProcess, client: str, tmp_path: Path) -> None:
    """Shows that the tests above do verify: the same client, the same gateway, an authority it was not signed by."""
    if client != "smtplib":
        require_program(client)
    trustme.CA().cert_pem.write_to_path(gateway.at.authorities)
    (tmp_path / "message").write_bytes(message())
    with pytest.raises((AssertionError, OSError)):
        CLIENTS[client](gateway, True, tmp_path / "message")
    assert not gateway.logged("accepted")
