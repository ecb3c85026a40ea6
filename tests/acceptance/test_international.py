"""Other letters than ASCII: 8-bit bodies, UTF-8 addresses and headers, from the client to the smarthost."""

from tests.acceptance.conftest import Install
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, parts, session, until_arrived
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

EIGHT_BIT = bytes(range(1, 10)) + bytes(range(0x80, 0x100)) + b"\r\nGr\xc3\xbc\xc3\x9fe \xe9\r\n"
UTF8_RECIPIENT = "jörg.müller@bücher.example"
UTF8_SUBJECT = "Grüße aus Köln — 北京"


def test_eight_bits_pass_and_are_declared(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    with session(gateway) as client:
        client.sendmail(LOGIN, ["bob@example.net"], message("eight", body=EIGHT_BIT), mail_options=["BODY=8BITMIME"])
    (delivery,) = until(lambda: smarthost.received("bob@example.net"), gateway.story)
    assert parts(delivery.data)[1] == EIGHT_BIT
    assert "BODY=8BITMIME" in delivery.mail
    assert "SMTPUTF8" not in delivery.mail


def test_utf8_addresses_and_headers(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    octets = message("utf8", to=f"Jörg <{UTF8_RECIPIENT}>", extra=f"X-Subject: {UTF8_SUBJECT}\r\n".encode())
    with signed_in(gateway) as wire:
        assert wire.command(f"MAIL FROM:<{LOGIN}>").code == 250
        assert wire.command(f"RCPT TO:<{UTF8_RECIPIENT}>").head == "553 5.6.7"
        assert wire.command("RSET").code == 250
        wire.envelope(UTF8_RECIPIENT, options=" SMTPUTF8 BODY=8BITMIME")
        assert wire.data(octets).code == 250
    (delivery,) = until(lambda: smarthost.deliveries, gateway.story)
    assert "SMTPUTF8" in delivery.mail
    assert delivery.recipients == (UTF8_RECIPIENT,)
    assert delivery.data.endswith(octets)
    assert b" with UTF8SMTPSA\r\n" in delivery.data
    assert "to" in gateway.until_logged("accepted")[0]  # the header's UTF-8 address is the envelope's


def test_utf8_account_and_maildir(install: Install) -> None:
    gateway = install()
    gateway.at.accounts.add("zoë@example.com", "pässwörd")
    gateway.start()
    with signed_in(gateway, "zoë@example.com", "pässwörd") as wire:
        wire.envelope(UTF8_RECIPIENT, sender="zoë@example.com", options=" SMTPUTF8")
        octets = message("zoe", body=b"hi\r\n").replace(LOGIN.encode(), "zoë@example.com".encode())
        assert wire.data(octets).code == 250
    (stored,) = until_arrived(gateway, "j%C3%B6rg.m%C3%BCller@b%C3%BCcher.example")
    assert stored.startswith("Return-Path: <zoë@example.com>\n".encode())
