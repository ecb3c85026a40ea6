"""Blind recipients through a real Postfix: alone in a transaction and in a report, and unknown to everyone else.

However the header names them: the field goes, and nothing of it is left.
"""

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
import trustme

from tests.acceptance.commands import read, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.mail import message
from tests.acceptance.postfix import Postfix
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

ME = "ann@example.net"
SECRET = b"Hush"  # in the display name of each blind recipient, and nowhere else
BLIND, OTHER = "blind@example.net", "veiled@example.net"
NAMED = ("to@example.net", "cc@example.net")

# What the header says of the blind ones
FORMS = {
    "nothing": b"",
    "plain": b"Bcc: Hush <blind@example.net>, veiled@example.net\r\n",
    "lower": b"bcc: Hush <blind@example.net>\r\n",
    "upper": b"BCC:blind@example.net,Hush<veiled@example.net>\r\n",
    "several": b"Bcc: Hush <blind@example.net>\r\nX-Other: kept\r\nBcc: veiled@example.net\r\n",
    "folded": b"Bcc:\r\n Hush\r\n\t<blind@example.net>\r\n ,\r\n veiled@example.net\r\n",
    "resent": b"Resent-Bcc: Hush <blind@example.net>\r\nresent-bcc: veiled@example.net\r\n",
    "spaced": b"Bcc : Hush <blind@example.net>\r\nBcc\t : veiled@example.net\r\n",
    "utf8": "Bcc: Hush Jürgen <blind@example.net>, Hush 内緒 <veiled@example.net>\r\n".encode(),
    "latin": b"Bcc: Hush J\xfcrgen <blind@example.net>\r\n",
    "encoded": b"Bcc: =?utf-8?q?Hush_J=C3=BCrgen?= <blind@example.net>\r\n",
    "group": b"Bcc: Hush: blind@example.net, veiled@example.net;\r\n",
    "empty": b"Bcc:\r\nBcc: \r\n",
    "broken": b'Bcc: "Hush <blind@example.net\r\n',
    "long": b"Bcc: " + b",\r\n ".join(b"Hush <hush%d@example.net>" % number for number in range(300)) + b"\r\n",
}


@pytest.fixture
def postfix(ca: trustme.CA) -> Iterator[Postfix]:
    with Postfix(ca, ("to", "cc", "blind", "veiled", "ann")) as running:
        yield running


@pytest.fixture
def gateway(install: Install, postfix: Postfix) -> GatewayProcess:
    made = install()
    hop = f"smtp://localhost:{postfix.port}?tls=required&ca={made.at.authorities.name}"
    made.at.write_settings({"relay": {"next_hop": [hop]}})
    made.at.accounts.add(ME, "pass word")
    return made.start()


def submitted(gateway: GatewayProcess, octets: bytes, *recipients: str) -> str:
    """Its queue id."""
    with signed_in(gateway, ME, "pass word") as wire:
        wire.envelope(*recipients, sender=ME)
        said = wire.data(octets.replace(b"ann@example.com", ME.encode()))
        assert said.code == 250, said
        return said.text.rpartition(" ")[2]


def stored(gateway: GatewayProcess, postfix: Postfix, user: str, count: int) -> list[bytes]:
    """What a recipient got, all of it."""

    def enough() -> list[bytes] | None:
        found = postfix.mail(user)
        return found if len(found) >= count else None

    found = until(enough, lambda: f"{count} for {user}\n{postfix.story()}\n{gateway.story()}")
    assert len(found) == count
    return found


def transaction(octets: bytes) -> str:
    """Postfix's own queue id."""
    found = re.search(rb"by postfix\.test \(Postfix\) with \w+ id (\w+)", octets)
    assert found
    return found[1].decode()


def until_sent(postfix: Postfix, transactions: list[list[str]]) -> None:
    """Until its log tells of these and no others: by the recipients of each."""
    wanted = sorted(map(sorted, transactions))

    def told() -> bool:
        return sorted(map(sorted, postfix.transactions().values())) == wanted

    until(told, lambda: f"{wanted}, but {postfix.transactions()}")


def named(octets: bytes) -> str:
    """Its Message-ID, the part before the @."""
    found = re.search(rb"^Message-ID: <(\w+)@test\.example>", octets, re.MULTILINE)
    assert found
    return found[1].decode()


def test_however_the_header_names_them_each_comes_alone_and_no_octet_tells_of_it(
    gateway: GatewayProcess, postfix: Postfix
) -> None:
    for name, field in FORMS.items():
        octets = message(name, to=NAMED[0], cc=NAMED[1], extra=field)
        submitted(gateway, octets, BLIND, NAMED[0], OTHER, NAMED[1])
    mail = {user: stored(gateway, postfix, user, len(FORMS)) for user in ("to", "cc", "blind", "veiled")}
    assert {named(each) for each in mail["to"]} == set(FORMS)
    for user, copies in mail.items():
        for octets in copies:
            assert SECRET not in octets
            assert b"bcc" not in re.sub(rb"\bid \w+", b"", octets).lower()  # queue ids have any letters
            assert b"hush" not in octets
            for other in {b"blind", b"veiled"} - {user.encode()}:  # its own name is Postfix's, as of a final delivery
                assert other not in octets
    until_sent(postfix, [[*NAMED], [BLIND], [OTHER]] * len(FORMS))
    for alone in ("blind", "veiled"):
        assert {transaction(each) for each in mail[alone]}.isdisjoint(transaction(each) for each in mail["to"])
    assert {transaction(each) for each in mail["cc"]} == {transaction(each) for each in mail["to"]}


def test_a_blind_recipient_that_is_named_too_is_not_blind(gateway: GatewayProcess, postfix: Postfix) -> None:
    """In To and in Bcc: everybody sees it anyway, so it goes with the others. Somebody's display name is not an address."""
    octets = message("both", to="to@example.net, blind@example.net", cc='"veiled@example.net" <cc@example.net>')
    octets = octets.replace(b"Subject:", b"Bcc: blind@example.net\r\nSubject:")
    queue_id = submitted(gateway, octets, BLIND, *NAMED, OTHER)
    gateway.until_logged("delivered", 4)
    until_sent(postfix, [[BLIND, *NAMED], [OTHER]])
    classes = {each["address"]: each["field"] for each in read(gateway, "queue", "show", queue_id)["recipients"]}
    assert classes == {"to@example.net": "to", BLIND: "to", "cc@example.net": "cc", OTHER: "bcc"}


def test_commands_and_the_log_tell_classes_apart(gateway: GatewayProcess, postfix: Postfix) -> None:
    octets = message("classes", to="to@example.net", cc="cc@example.net", extra=FORMS["plain"])
    queue_id = submitted(gateway, octets, BLIND, *NAMED, OTHER)
    expected = {"to@example.net": "to", "cc@example.net": "cc", BLIND: "bcc", OTHER: "bcc"}
    delivered = gateway.until_logged("delivered", 4)
    shown = read(gateway, "queue", "show", queue_id)
    assert {each["address"]: each["field"] for each in shown["recipients"]} == expected
    listed = read(gateway, "queue", "list", "--state", "delivered")
    assert {each["address"]: each["field"] for each in listed} == expected
    for table in (tool(gateway, "queue", "show", queue_id), tool(gateway, "queue", "list", "--state", "delivered")):
        assert [len(re.findall(rf"\s{field}\s", table)) for field in ("to", "cc", "bcc")] == [1, 1, 2]
    fields = {line["recipient"]: line["field"] for line in delivered}
    assert fields == {each["id"]: each["field"] for each in shown["recipients"]}
    (accepted,) = gateway.logged("accepted", queue_id=queue_id)
    assert (accepted["to"], accepted["cc"], accepted["bcc"]) == (1, 1, 2)
    assert "blind" not in gateway.raw_log()
    assert "Bcc" not in shown["header"]


def status(octets: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """The type of each part of a report, and the fields of each recipient."""
    report: Any = email.message_from_bytes(octets, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    parts = list(report.iter_parts())
    groups: list[Message] = parts[1].get_payload()
    return [part.get_content_type() for part in parts], [dict(group.items()) for group in groups[1:]]


def test_a_blind_one_that_fails_is_reported_alone_and_to_nobody_else(gateway: GatewayProcess, postfix: Postfix) -> None:
    """Postfix refuses two of them and one that the header names: three reports, and each knows of its own alone."""
    with signed_in(gateway, ME, "pass word") as wire:
        assert wire.command(f"MAIL FROM:<{ME}> RET=FULL ENVID=e1").code == 250
        for name in ("ghost1", "to", "nobody", "ghost2"):
            orcpt = f"NOTIFY=FAILURE,DELAY ORCPT=rfc822;{name}@example.net"
            assert wire.command(f"RCPT TO:<{name}@example.net> {orcpt}").code == 250
        octets = message(
            "fails", to="to@example.net", cc="nobody@example.net", extra=b"Bcc: ghost1@example.net,\r\n ghost2@example.net\r\n"
        )
        assert wire.data(octets.replace(b"ann@example.com", ME.encode())).code == 250
    reports = stored(gateway, postfix, "ann", 3)
    stored(gateway, postfix, "to", 1)
    told = {}
    for octets in reports:
        kinds, (recipient,) = status(octets)
        assert kinds == ["text/plain", "message/delivery-status", "message/rfc822"]
        assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
        told[recipient["Final-Recipient"].partition("; ")[2]] = octets
    assert sorted(told) == ["ghost1@example.net", "ghost2@example.net", "nobody@example.net"]
    for who, octets in told.items():
        ghosts = {name for name in ("ghost1", "ghost2") if name.encode() in octets}
        assert ghosts == {who.partition("@")[0]} - {"nobody"}
        assert b"bcc" not in re.sub(rb"\bid \w+", b"", octets).lower()  # queue ids have any letters
    gateway.until_logged("delivered", 4)
    failed = gateway.logged("failed")
    assert sorted(line["field"] for line in failed) == ["bcc", "bcc", "cc"]
    assert gateway.figure("reports_total", kind="failed") == 3
    recipients = read(gateway, "queue", "show", failed[0]["queue_id"])["recipients"]
    assert {each["address"].partition("@")[0]: each["state"] for each in recipients} == {
        "to": "delivered",
        "nobody": "failed",
        "ghost1": "failed",
        "ghost2": "failed",
    }


@pytest.mark.parametrize(("settings", "kind"), [({"give_up": "2s"}, "failed"), ({"delay_warning": "1s"}, "delayed")])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_waits_for_too_long_is_reported_apart(
    install: Install, smarthost: Smarthost, settings: dict[str, str], kind: str, restarted: bool
) -> None:
    """Nobody has answered for them, so nothing but their class tells the blind ones from the others."""
    smarthost.replies = {b"MAIL FROM:<ann@": b"451 4.3.0 later\r\n"}
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"], **settings}).start()
    gateway.at.accounts.add(ME, "pass word")
    submitted(gateway, message("waits", to="to@example.net", cc="cc@example.net"), BLIND, *NAMED, OTHER)
    if restarted:
        gateway.stop()
        gateway.start()
    until(lambda: len(smarthost.received(ME)) >= 3, gateway.story)
    told = []
    for delivery in smarthost.received(ME):
        _, recipients = status(delivery.data)
        assert {each["Action"] for each in recipients} == {kind}
        told.append(sorted(each["Final-Recipient"].partition("; ")[2] for each in recipients))
        for blind in (BLIND, OTHER):
            assert (blind.encode() in delivery.data) == (blind in told[-1])
    assert sorted(told) == [[BLIND], sorted(NAMED), [OTHER]]
