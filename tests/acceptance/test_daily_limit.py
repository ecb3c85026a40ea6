"""The daily limit on running programs: exact for any number of sessions and processes at once, and what becomes of the rest."""

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.acceptance.commands import new_credential, read, refused, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.login_table import OWN_LIMITS
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.sharing import Pair, two_that_share_a_store
from tests.acceptance.waiting import until
from tests.acceptance.wire import Reply, Wire, signed_in

SESSIONS = 40  # half of them at each gateway
LIMIT = 100
ROUNDS = 3  # messages of each session
REACHED = rf"4\.7\.1 Daily limit of {LIMIT} recipients reached; it resets at 00:00 UTC, in (\d+ h )?(\d+ min)?"
SAID = {
    "defer": re.compile(REACHED),
    "reject": re.compile(REACHED.replace("4", "5", 1)),
    "suspend": re.compile(r"5\.7\.1 Sending is suspended: .* daily limit; the operator of this service can lift it"),
}


def begun(wire: Wire, *recipients: str, sender: str = LOGIN) -> Reply:
    """A new envelope: the last reply, or the first that was no 250."""
    wire.command("RSET")
    said = wire.command(f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        if said.code == 250:
            said = wire.command(f"RCPT TO:<{recipient}>")
    return said


def sent(wire: Wire, name: str, *recipients: str) -> Reply:
    """What becomes of one message."""
    said = begun(wire, *recipients)
    return wire.data(message(name)) if said.code == 250 else said


class Crowd:
    """Sessions that send at once: each begins its messages and ends them when all the others do."""

    def __init__(self, gateways: Pair, recipients: int) -> None:
        self._gateways = gateways
        self._recipients = recipients  # of each message
        self._all = Barrier(SESSIONS, timeout=60.0)

    def run(self) -> dict[str, Reply]:
        """What each message was told, by its name."""
        with ThreadPoolExecutor(SESSIONS) as threads:
            told = list(threads.map(self._session, range(SESSIONS)))
        return {name: said for each in told for name, said in each.items()}

    def addresses(self, name: str) -> list[str]:
        return [f"{name}.{number}@example.net" for number in range(self._recipients)]

    def _session(self, number: int) -> dict[str, Reply]:
        with signed_in(self._gateways[number % 2]) as wire:
            return {name: self._message(wire, name) for name in (f"m{number}-{turn}" for turn in range(ROUNDS))}

    def _message(self, wire: Wire, name: str) -> Reply:
        self._all.wait()
        said = begun(wire, *self.addresses(name))
        self._all.wait()  # so that whoever was let in so far asks for the same last recipients
        return wire.data(message(name)) if said.code == 250 else said


@pytest.mark.parametrize(
    ("action", "recipients", "charged"), [("defer", 1, 100), ("reject", 1, 100), ("suspend", 1, 100), ("defer", 3, 99)]
)
def test_forty_sessions_at_two_gateways_get_exactly_the_limit(
    install: Install, action: str, recipients: int, charged: int
) -> None:
    gateways = two_that_share_a_store(install, {"limits": {"daily_recipients": LIMIT, "on_daily_limit": action}})
    crowd = Crowd(gateways, recipients)
    told = crowd.run()
    accepted = [name for name, said in told.items() if said.code == 250]
    refusals = [said for said in told.values() if said.code != 250]
    assert len(accepted) * recipients == charged
    assert {said.code for said in refusals} == {450 if action == "defer" else 550}
    assert [said.text for said in refusals if not SAID[action].fullmatch(said.text)] == []
    wanted = sorted(address for name in accepted for address in crowd.addresses(name))
    until(lambda: delivered(gateways) == wanted, lambda: f"{len(delivered(gateways))} of {charged} delivered")
    assert read(gateways[0], "queue", "list") == []
    for family, labels, expected in (
        ("recipients_total", {"field": "bcc"}, charged),
        ("messages_total", {"result": "accepted"}, len(accepted)),
        ("quota_refusals_total", {"action": action}, len(refusals)),
        ("quota_refusals_total", {}, len(refusals)),
        ("quota_warnings_total", {}, 1),
    ):
        assert sum(gateway.figure(family, **labels) for gateway in gateways) == expected, family
    assert len([line for gateway in gateways for line in gateway.logged("daily limit is near")]) == 1
    account = until(lambda: written_down(gateways[0], len(refusals)), "the refusals are written down")
    assert (account["used"], account["limit"], account["days"][0]["messages"]) == (charged, LIMIT, len(accepted))
    suspended = [(each["login"], each["daily_limit"], each["used"]) for each in read(gateways[0], "suspensions", "list")]
    assert suspended == ([(LOGIN, LIMIT, charged)] if action == "suspend" else [])


def delivered(gateways: Pair) -> list[str]:
    """The folder of each message that has arrived at one of them."""
    return sorted(path.parent.parent.name for gateway in gateways for path in gateway.at.mail.glob("*/new/*"))


def written_down(gateway: GatewayProcess, refusals: int) -> Any:
    """The account's usage once so many refusals are in it; they are written every few seconds."""
    shown = read(gateway, "usage", "show", LOGIN)
    return shown if shown["days"] and shown["days"][0]["refusals"] == refusals else None


def test_the_last_recipients_of_a_day_go_to_smaller_messages(install: Install) -> None:
    """What does not fit as a whole is charged nothing, and leaves its place to what does."""
    gateway = install(limits={"daily_recipients": 5}).start()
    with signed_in(gateway) as wire, signed_in(gateway) as late:
        late.envelope("a@example.net", "b@example.net", "c@example.net")
        assert sent(wire, "first", "a@example.net", "b@example.net", "c@example.net").code == 250
        said = late.data(message("late"))
        assert (said.head, "Daily limit of 5 recipients" in said.text) == ("450 4.7.1", True)
        assert rcptmax(wire) == 2
        assert sent(late, "second", "a@example.net", "b@example.net").code == 250
        assert rcptmax(wire) == rcptmax(late) == 1  # none is left, and 0 is no number for it
        assert sent(late, "third", "a@example.net").head == "450 4.7.1"
    assert read(gateway, "usage", "show", LOGIN)["used"] == 5
    assert not gateway.logged("accepted", queue_id="late")


def rcptmax(wire: Wire) -> int:
    wire.command("RSET")
    (limit,) = [line for line in wire.command("EHLO test.example").lines if line.startswith("LIMITS RCPTMAX=")]
    return int(limit.partition("=")[2].split()[0])


def test_the_warning_comes_once_at_four_fifths(install: Install) -> None:
    gateway = install(limits={"daily_recipients": 10}).start()
    with signed_in(gateway) as wire:
        assert sent(wire, "seven", *(f"r{number}@example.net" for number in range(7))).code == 250
        assert not gateway.logged("daily limit is near")
        assert gateway.figure("quota_warnings_total") == 0
        for name in ("eighth", "ninth", "tenth"):
            assert sent(wire, name, "bob@example.net").code == 250
    (line,) = gateway.logged("daily limit is near")
    assert (line["level"], line["used"], line["limit"], line["account"]) == ("warning", 8, 10, "1")
    assert gateway.figure("quota_warnings_total") == 1


def test_a_suspended_account_sends_nothing_until_an_operator_lifts_it(install: Install) -> None:
    """Neither by its login nor as a domain of its own, in open sessions or in new ones; and it stays so over a restart."""
    gateway = install(accounts=OWN_LIMITS, limits={"on_daily_limit": "suspend", "daily_recipients": 4}).start()
    tool(gateway, "domains", "add", "shop.example", LOGIN)
    password = new_credential(gateway, "desk@shop.example")
    three = ("bob@example.net", "carl@example.net", "dora@example.net")
    with signed_in(gateway) as own, signed_in(gateway, "desk@shop.example", password) as desk, signed_in(gateway) as writes:
        writes.envelope("bob@example.net")
        assert sent(own, "fits", "bob@example.net", "carl@example.net").code == 250
        over = sent(own, "over", *three)
        assert SAID["suspend"].fullmatch(over.text)
        assert (over.head, begun(own)) == ("550 5.7.1", over)
        assert begun(desk, sender="desk@shop.example") == over
        assert writes.data(message("under way")) == over  # although it would have fitted
        assert gateway.figure("quota_refusals_total", action="suspend") == 4
    gateway.stop()
    gateway.start()
    with signed_in(gateway) as own, signed_in(gateway, "desk@shop.example", password) as desk:
        assert rcptmax(own) == 1
        assert begun(own) == begun(desk, sender="desk@shop.example") == over
        (listed,) = read(gateway, "suspensions", "list")
        assert (listed["login"], listed["daily_limit"], listed["used"]) == (LOGIN, 4, 2)
        assert "may send again" in tool(gateway, "suspensions", "lift", LOGIN)
        assert read(gateway, "suspensions", "list") == []
        assert "is not suspended" in refused(gateway, "suspensions", "lift", LOGIN)
        # or lifting it would last for one message
        assert sent(own, "deferred", *three).head == "450 4.7.1"
        gateway.at.accounts.set_daily(LOGIN, 6)
        assert sent(own, "again", *three).code == 250
        assert begun(desk, "bob@example.net", sender="desk@shop.example").code == 250
        assert desk.data(message("desk").replace(LOGIN.encode(), b"desk@shop.example")).code == 250
    names = {
        found
        for each in until_arrived(gateway, "bob@example.net", 3)
        for found in re.findall(rb"^Message-ID: <(\w+)@", each, re.M)
    }
    assert names == {b"fits", b"again", b"desk"}
