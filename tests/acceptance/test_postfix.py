"""Through a real Postfix: To, Cc and Bcc arrive once each, the blind one alone and unseen, over verified TLS."""

import re
from collections.abc import Iterator

import pytest
import trustme

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import BODY, message, parts, submit, unix
from tests.acceptance.postfix import Postfix
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

USERS = ("to1", "to2", "cc", "blind1", "blind2", "ann")
_QUEUE_ID = re.compile(rb"by postfix\.test \(Postfix\) with \w+ id (\w+)")


@pytest.fixture
def postfix(ca: trustme.CA) -> Iterator[Postfix]:
    with Postfix(ca, USERS) as running:
        yield running


@pytest.fixture
def gateway(install: Install, postfix: Postfix) -> GatewayProcess:
    made = install(relay={"retry": ["1s"]})
    hop = f"smtp://localhost:{postfix.port}?tls=required&ca={made.at.authorities.name}"
    made.at.write_settings({"relay": {"next_hop": [hop]}})
    return made.start()


def until_mail(gateway: GatewayProcess, postfix: Postfix, user: str, count: int = 1) -> list[bytes]:
    def enough() -> list[bytes] | None:
        found = postfix.mail(user)
        return found if len(found) >= count else None

    return until(enough, lambda: f"{count} for {user}\n{postfix.story()}\n{gateway.story()}")


def test_each_recipient_gets_it_once_and_nobody_sees_a_blind_one(gateway: GatewayProcess, postfix: Postfix) -> None:
    octets = message(
        "all",
        to="One <to1@example.net>, to2@example.net",
        cc="cc@example.net",
        extra=b"BCC:\r\n blind1@example.net,\r\n blind2@example.net\r\nResent-Bcc: blind1@example.net\r\n",
    )
    recipients = [f"{user}@example.net" for user in ("blind1", "to1", "to2", "cc", "blind2")]
    submit(gateway, octets, *recipients, "to1@EXAMPLE.NET", "cc@example.net")
    stored = {user: until_mail(gateway, postfix, user) for user in USERS if user != "ann"}
    gateway.until_logged("delivered", 5)
    transactions = {user: _QUEUE_ID.search(each[0]) for user, each in stored.items()}
    assert all(transactions.values())
    ids = {user: found[1] for user, found in transactions.items() if found}
    assert ids["to1"] == ids["to2"] == ids["cc"]
    assert len({ids["to1"], ids["blind1"], ids["blind2"]}) == 3  # each blind one in a transaction of its own
    for user, each in stored.items():
        assert len(postfix.mail(user)) == 1
        header, body = parts(each[0])
        assert body == unix(BODY)
        assert b"bcc" not in header.lower()
        for blind in ("blind1", "blind2"):
            assert (blind.encode() in header) == (user == blind)  # Postfix tells it its own name, as a final delivery does
    (line,) = gateway.logged("accepted")
    assert (line["to"], line["cc"], line["bcc"]) == (2, 1, 2)


def test_postfix_refuses_one_of_three_and_the_sender_is_told(gateway: GatewayProcess, postfix: Postfix) -> None:
    gateway.at.accounts.add("ann@example.net", "pass word")
    octets = message("some", to="to1@example.net, nobody@example.net", cc="cc@example.net")
    with signed_in(gateway, "ann@example.net", "pass word") as wire:
        wire.envelope("to1@example.net", "nobody@example.net", "cc@example.net", sender="ann@example.net")
        assert wire.data(octets.replace(LOGIN.encode(), b"ann@example.net")).code == 250
    (report,) = until_mail(gateway, postfix, "ann")
    assert b"Final-Recipient: rfc822; nobody@example.net\n" in report
    assert b"Status: 5.1.1\n" in report
    assert b"Return-Path: <>" in report
    for user in ("to1", "cc"):
        assert len(until_mail(gateway, postfix, user)) == 1


def test_postfix_is_stopped_and_started(gateway: GatewayProcess, postfix: Postfix) -> None:
    for number in range(5):
        submit(gateway, message(f"a{number}"), "to1@example.net")
    gateway.until_logged("delivered", 5)  # what Postfix has taken, but whose reply is cut off, would come again
    postfix.down()
    for number in range(5):
        submit(gateway, message(f"b{number}"), "to1@example.net")
    gateway.until_logged("hop down")
    postfix.up()
    until_mail(gateway, postfix, "to1", 10)
    gateway.until_logged("delivered", 10)
    names = [found for each in postfix.mail("to1") for found in re.findall(rb"^Message-ID: <(\w+)@", each, re.MULTILINE)]
    assert sorted(names) == sorted(f"{kind}{number}".encode() for kind in "ab" for number in range(5))


def test_a_smarthost_that_cannot_prove_its_name_gets_nothing(gateway: GatewayProcess, postfix: Postfix) -> None:
    trustme.CA().cert_pem.write_to_path(gateway.at.folder / "other.pem")
    gateway.stop()
    hop = f"smtp://localhost:{postfix.port}?tls=required&ca=other.pem"
    gateway.at.write_settings({"relay": {"next_hop": [hop]}})
    gateway.start()
    submit(gateway, message(), "to1@example.net")
    (line,) = gateway.until_logged("hop down")
    assert "certificate" in line["reason"]
    assert not postfix.mail("to1")
    gateway.at.write_settings({"relay": {"next_hop": [hop.replace("other.pem", gateway.at.authorities.name)]}})
    gateway.stop()
    gateway.start()
    until_mail(gateway, postfix, "to1")
