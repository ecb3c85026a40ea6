"""A sender that is not the account's is refused: in the envelope, in From and in Sender."""

from collections.abc import Iterator

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import arrived, message, until_arrived
from tests.acceptance.wire import Wire, signed_in

MINE = f"From: Ann <{LOGIN}>\r\n".encode()
FOREIGN_HEADERS = {
    "From": b"From: Boss <boss@example.com>\r\n",
    "one of two authors": f"From: {LOGIN}, boss@example.com\r\n".encode(),
    "a name that looks like mine": f'From: "{LOGIN}" <boss@example.com>\r\n'.encode(),
    "Sender": MINE + b"Sender: boss@example.com\r\n",
    "folded": b"From:\r\n <boss@example.com>\r\n",
}


@pytest.fixture
def wire(gateway: GatewayProcess) -> Iterator[Wire]:
    with signed_in(gateway) as wire:
        yield wire


def test_foreign_senders_are_refused_and_the_own_one_goes(gateway: GatewayProcess, wire: Wire) -> None:
    for other in ("boss@example.com", "ann@example.net", "ann@sub.example.com"):
        assert wire.command(f"MAIL FROM:<{other}>").head == "553 5.7.1"
    for what, fields in FOREIGN_HEADERS.items():
        wire.envelope("bob@example.net")
        said = wire.data(message().replace(MINE, fields))
        assert said.head == "553 5.7.1", what
    wire.envelope("bob@example.net")
    assert wire.data(message().replace(MINE, MINE + MINE)).head == "554 5.6.0"
    wire.envelope("bob@example.net", sender="ANN@Example.COM")
    assert wire.data(message("mine")).code == 250
    (stored,) = until_arrived(gateway, "bob@example.net")
    assert b"<mine@test.example>" in stored


def test_a_null_sender_goes_with_an_own_from(gateway: GatewayProcess, wire: Wire) -> None:
    """Clients send read receipts from <> (RFC 8098 section 3)."""
    wire.envelope("bob@example.net", sender="")
    assert wire.data(message("mdn")).code == 250
    assert until_arrived(gateway, "bob@example.net")[0].startswith(b"Return-Path: <>\n")


def test_nobody_sends_without_signing_in(gateway: GatewayProcess) -> None:
    with Wire(gateway.starttls) as wire:
        wire.reply()
        keywords = wire.command("EHLO test.example").lines
        assert "STARTTLS" in keywords
        assert not [keyword for keyword in keywords if keyword.startswith("AUTH")]
        assert wire.command("AUTH PLAIN AGEAYg==").head == "538 5.7.11"
        assert wire.command(f"MAIL FROM:<{LOGIN}>").head == "530 5.7.0"
        assert wire.command("STARTTLS").code == 220
        wire.start_tls(gateway.context())
        wire.command("EHLO test.example")
        assert wire.command(f"MAIL FROM:<{LOGIN}>").head == "530 5.7.0"
        assert wire.command("RCPT TO:<bob@example.net>").head == "530 5.7.0"
    assert not arrived(gateway.at.mail, "bob@example.net")
