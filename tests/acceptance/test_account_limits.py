"""What one account may send: limits from its row, told at EHLO and counted from the next MAIL on; and what it has used."""

import csv
import json
import signal
from typing import Any

import pytest

from tests.acceptance.commands import read, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.login_table import OWN_LIMITS
from tests.acceptance.mail import message
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, greeted, signed_in

CEILING = 1 << 20  # octets


@pytest.fixture
def gateway(install: Install) -> GatewayProcess:
    limits = {"message_size": CEILING, "recipients": 20, "daily_recipients": 50}
    return install(accounts=OWN_LIMITS, limits=limits).start()


def told(wire: Wire) -> tuple[int, int]:
    """SIZE and RCPTMAX of an EHLO."""
    keywords = dict(line.replace("=", " ").rsplit(" ", 1) for line in wire.command("EHLO test.example").lines if " " in line)
    return int(keywords["SIZE"]), int(next(key for key in keywords if key.startswith("LIMITS RCPTMAX")).split()[2])


def mail(wire: Wire, size: int = 1) -> str:
    """The reply to a MAIL, or rather its code and what is said behind it."""
    wire.command("RSET")
    said = wire.command(f"MAIL FROM:<{LOGIN}> SIZE={size}")
    return f"{said.code} {said.text}"


def of_size(name: str, octets: int) -> bytes:
    empty = message(name, body=b"")
    return empty + b"x" * (octets - len(empty) - 2) + b"\r\n"


def test_the_size_of_the_row_counts_from_the_next_mail_on(gateway: GatewayProcess) -> None:
    accounts = gateway.at.accounts
    accounts.set_size(LOGIN, 100_000)
    with greeted(gateway) as wire:
        assert told(wire) == (CEILING, 20)
        assert wire.sign_in().code == 235
        assert told(wire) == (100_000, 20)
        over = "552 5.3.4 Message of 100001 octets is too large: the limit is 100000 octets (97.66 KiB)"
        assert mail(wire, 100_001) == over
        assert mail(wire, 100_000)[:3] == "250"
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        accounts.set_size(LOGIN, 200_000)  # too late for the message that was begun
        said = wire.data(of_size("early", 100_001))
        assert f"{said.code} {said.text}" == over
        wire.envelope("bob@example.net", options=" SIZE=200000")
        assert wire.data(of_size("exact", 200_000)).code == 250
        assert told(wire) == (200_000, 20)
        wire.envelope("bob@example.net")
        accounts.set_size(LOGIN, 150_000)  # smaller, and looked at once more at the end
        assert wire.data(of_size("shrunk", 150_001)).head == "552 5.3.4"
        for unlimited in (None, 0, -5, 10 * CEILING):
            accounts.set_size(LOGIN, unlimited)
            assert mail(wire, CEILING)[:3] == "250", unlimited
            assert mail(wire, CEILING + 1)[:9] == "552 5.3.4", unlimited
            assert told(wire) == (CEILING, 20)
    assert [line["octets"] > 200_000 for line in gateway.logged("accepted")] == [True]


def recipients(wire: Wire, count: int, name: str = "") -> list[int]:
    """The codes of RCPTs for so many who got nothing so far; what was let in is sent when there is a `name`."""
    assert mail(wire)[:3] == "250"
    codes = [wire.command(f"RCPT TO:<{name or 'new'}{number}@example.net>").code for number in range(count)]
    if name and 250 in codes:
        assert wire.data(message(name)).code == 250
    return codes


def test_the_daily_limit_of_the_row_counts_from_the_next_mail_on(gateway: GatewayProcess) -> None:
    accounts = gateway.at.accounts
    accounts.set_daily(LOGIN, 3)
    with signed_in(gateway) as wire:
        assert told(wire) == (CEILING, 3)
        assert recipients(wire, 4, "a") == [250, 250, 250, 450]
        assert told(wire) == (CEILING, 1)
        accounts.set_daily(LOGIN, 5)
        assert recipients(wire, 3, "b") == [250, 250, 450]
        assert mail(wire)[:3] == "250"
        accounts.set_daily(LOGIN, 6)  # too late for the message that was begun
        assert wire.command("RCPT TO:<new@example.net>").lines[0].startswith("4.7.1 Daily limit of 5 recipients reached")
        assert recipients(wire, 1, "c") == [250]
        accounts.set_daily(LOGIN, 0)  # no limit at all, and the general one does not count
        assert recipients(wire, 20, "d") == [250] * 20
        assert recipients(wire, 20, "e") == [250] * 20
        assert recipients(wire, 21, "f") == [250] * 20 + [452]
        assert told(wire) == (CEILING, 20)
        for general in (None, -1):
            accounts.set_daily(LOGIN, general)
            assert recipients(wire, 1) == [450]
            assert told(wire) == (CEILING, 1)
    shown = read(gateway, "usage", "show", LOGIN)
    assert (shown["used"], shown["limit"]) == (66, 50)


def test_no_general_limit_until_a_reload_makes_one(install: Install) -> None:
    gateway = install(limits={"daily_recipients": 0}).start()
    with signed_in(gateway) as wire:
        for name in "abc":
            assert recipients(wire, 100, name) == [250] * 100
        assert told(wire)[1] == 100
        shown = read(gateway, "usage", "show", LOGIN)
        assert (shown["used"], shown["limit"], shown["days"][0]["messages"]) == (300, 0, 3)
        assert not gateway.logged("daily limit is near")
        gateway.at.write_settings({"limits": {"daily_recipients": 301}})
        gateway.signal(signal.SIGHUP)
        gateway.until_logged("configuration reloaded")
        assert told(wire)[1] == 1
        assert recipients(wire, 2) == [250, 450]


@pytest.fixture
def counted(install: Install, smarthost: Smarthost) -> GatewayProcess:
    """Two accounts have sent, and were refused."""
    gateway = install(relay={"next_hop": [smarthost.url]}, limits={"message_size": 10_000}).start()
    gateway.at.accounts.add("=cmd@example.com", "pass word")
    with signed_in(gateway) as wire:
        wire.envelope("to1@example.net", "blind1@example.net", "cc@example.net", "to1@EXAMPLE.NET", "to2@example.net")
        octets = message(
            "one", to="to1@example.net, to2@example.net", cc="Cee <cc@example.net>", extra=b"Bcc: blind1@example.net\r\n"
        )
        assert wire.data(octets).code == 250
        wire.envelope("blind1@example.net", "blind2@example.net")
        assert wire.data(message("two", to="undisclosed-recipients:;")).code == 250
        assert wire.command("MAIL FROM:<boss@example.com>").code == 553
        assert mail(wire, 10_001)[:3] == "552"
        wire.envelope("bob@example.net")
        assert wire.data(message("three", body=b"x" * 10_000 + b"\r\n")).code == 552
        wire.envelope("bob@example.net")
        wire.command("RSET")  # an aborted message costs nothing
    with signed_in(gateway, "=cmd@example.com", "pass word") as wire:
        wire.envelope("bob@example.net", sender="=cmd@example.com")
        assert wire.data(message("other").replace(LOGIN.encode(), b"=cmd@example.com")).code == 250
    gateway.until_logged("delivered", 7)  # recipients
    return gateway


def test_usage_has_messages_recipients_by_class_octets_and_refusals(counted: GatewayProcess, smarthost: Smarthost) -> None:
    """Octets are those of each message as it is sent on, once whatever the number of its recipients."""
    sizes = {
        name: len(delivery.data)
        for delivery in smarthost.deliveries
        for name in ("one", "two", "other")
        if f"<{name}@".encode() in delivery.data
    }
    expected = {"messages": 2, "to": 2, "cc": 1, "bcc": 3, "recipients": 6, "bytes": sizes["one"] + sizes["two"], "refusals": 3}
    shown = until(lambda: _with_refusals(counted, 3), "the refusals are written down")
    (day,) = shown["days"]
    assert {key: value for key, value in day.items() if key != "day"} == expected
    assert (shown["account_id"], shown["login"], shown["used"], shown["suspended_for"]) == ("1", LOGIN, 6, None)
    month = ("usage", "export", "--month", day["day"][:7])
    other = {"account_id": "2", "login": "=cmd@example.com", "messages": 1, "to": 1, "cc": 0, "bcc": 0, "recipients": 1}
    other |= {"bytes": sizes["other"], "refusals": 0}
    own = {"account_id": "1", "login": LOGIN, **expected}
    in_json = json.loads(tool(counted, *month, "--format", "json"))
    assert in_json == [{**own, "day": day["day"]}, {**other, "day": day["day"]}]
    rows = list(csv.DictReader(tool(counted, *month, "--totals").splitlines()))
    assert rows == [_as_text(own), _as_text(other) | {"login": "'=cmd@example.com"}]
    for field, count in (("to", 3), ("cc", 1), ("bcc", 3)):
        assert counted.figure("recipients_total", field=field) == count


def _with_refusals(gateway: GatewayProcess, count: int) -> Any:
    """The usage once so many are in it: they are written down every few seconds, not all at once."""
    shown = read(gateway, "usage", "show", LOGIN)
    return shown if shown["days"][0]["refusals"] >= count else None


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in row.items()}
