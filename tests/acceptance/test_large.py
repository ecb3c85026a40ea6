"""Large messages: carried whole, refused past the limit, and never held in memory."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.commands import read, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import arrived, message, parts, session, submit, unix, until_arrived
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, signed_in

MIB = 1 << 20
LIMIT = 25 * MIB  # the default
ROOM = 60 * MIB  # what a gateway may grow by while five messages of 24 MiB come in and go out


def large(name: str, size: int = LIMIT - 2048) -> bytes:
    """A message of a little more than `size` octets in lines that all differ, some with a dot in front."""
    count = size // 78
    body = b"".join(b".%s%08d%s\r\n" % (name[:1].encode(), n, b"y" * 66) for n in range(count))
    return message(name, body=body)


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def send_chunks(wire: Wire, octets: bytes, size: int) -> None:
    """BDAT in chunks of `size`, the last one LAST (RFC 3030)."""
    for start in range(0, len(octets), size):
        chunk = octets[start : start + size]
        last = " LAST" if start + size >= len(octets) else ""
        wire.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
        said = wire.reply()
        assert said.code == 250, said


def spooled(gateway: GatewayProcess) -> list[Path]:
    return [path for path in (gateway.at.state / "spool").rglob("*") if path.is_file()]


def send_data(gateway: GatewayProcess, name: str) -> str:
    octets = large(name)
    with session(gateway) as client:
        client.sendmail(LOGIN, [f"{name}@example.net"], octets)
    return digest(unix(parts(octets)[1]))


def send_bdat(gateway: GatewayProcess, name: str) -> str:
    octets = large(name)
    with signed_in(gateway) as wire:
        wire.envelope(f"{name}@example.net", options=f" SIZE={len(octets)}")
        send_chunks(wire, octets, 3 * MIB + 1)
    return digest(unix(parts(octets)[1]))


def test_five_of_24_mib_at_once_arrive_whole_and_memory_stays(gateway: GatewayProcess) -> None:
    names = {"d0": send_data, "d1": send_data, "d2": send_data, "b0": send_bdat, "b1": send_bdat}
    with signed_in(gateway) as wire:  # one message first: what every message needs is in memory before we measure
        wire.envelope("warm@example.net")
        wire.data(message("warm", body=b"z" * 200_000 + b"\r\n"))
    until_arrived(gateway, "warm@example.net")
    before = gateway.memory("VmHWM")
    with ThreadPoolExecutor(5) as threads:
        sent = dict(zip(names, threads.map(lambda name: names[name](gateway, name), names), strict=True))
    for name, expected in sent.items():
        stored = until_arrived(gateway, f"{name}@example.net")
        assert [digest(parts(each)[1]) for each in stored] == [expected], name
    grown = gateway.memory("VmHWM") - before
    assert grown < ROOM, f"grew by {grown / MIB:.1f} MiB"
    until(lambda: not spooled(gateway), "an empty spool once all are delivered")


def test_too_large_is_refused_at_mail_at_the_dot_and_at_the_last_chunk(install: Install) -> None:
    gateway = install(limits={"message_size": "100KiB"}).start()
    octets = message("big", body=b"0123456789abcdef\r\n" * 6000)
    named = "102400 octets (100 KiB)"
    with signed_in(gateway) as wire:
        said = wire.command(f"MAIL FROM:<{LOGIN}> SIZE={len(octets)}")
        assert said.head == "552 5.3.4"
        assert named in said.text
        wire.envelope("bob@example.net")
        said = wire.data(octets)
        assert said.head == "552 5.3.4"
        assert named in said.text
        wire.envelope("bob@example.net")
        wire.send(f"BDAT {len(octets)} LAST\r\n".encode() + octets)
        assert wire.reply().head == "552 5.3.4"
        wire.envelope("bob@example.net")
        assert wire.data(message("small")).code == 250
    until_arrived(gateway, "bob@example.net")
    assert len(arrived(gateway.at.mail, "bob@example.net")) == 1
    assert not spooled(gateway)


@pytest.mark.parametrize("size", [2000, 150_000])
def test_the_limit_of_an_account_is_its_own(gateway: GatewayProcess, size: int) -> None:
    gateway.at.accounts.add("small@example.com", "pass word", size=size)
    octets = message().replace(LOGIN.encode(), b"small@example.com")
    fits, not_ = octets + b"z" * (size - len(octets) - 2) + b"\r\n", octets + b"z" * (size - len(octets) - 1) + b"\r\n"
    with signed_in(gateway, "small@example.com", "pass word") as wire:
        assert f"SIZE {size}" in wire.command("EHLO again.example").lines
        for one, code in ((not_, 552), (fits, 250)):
            wire.envelope("bob@example.net", sender="small@example.com")
            assert wire.data(one).code == code


def test_a_body_cut_short_on_disk_is_never_sent_and_named(install: Install) -> None:
    """A rest of it was delivered once as if it were the whole, with a 250 in the log."""
    with Smarthost() as hop:
        hop.down()
        gateway = install(relay={"next_hop": [hop.url], "retry": ["1s"]}).start()
        submit(gateway, message(body=b"large\r\n" * 60_000))
        gateway.until_logged("hop down")
        (file,) = spooled(gateway)
        size = file.stat().st_size
        os.truncate(file, 237)
        hop.up()
        logged = gateway.until_logged("a body cannot be read")[0]
        assert f"237 of {size} octets" in logged["reason"]
        (row,) = read(gateway, "queue", "list")
        until(lambda: "damaged" in tool(gateway, "queue", "show", str(row["id"])), gateway.story)
        assert not hop.deliveries
        assert gateway.get("/readyz")[0] == 200


def test_whoever_shares_the_store_finds_a_large_body(install: Install, smarthost: Smarthost) -> None:
    """Two gateways of one machine over one SQLite file: what one has taken, the other sends."""
    secret = {"secret": "x" * 32}
    with Smarthost() as away:
        away.down()
        one = install(server=secret, relay={"next_hop": [away.url], "retry": ["1s"]}).start()
        submit(one, message(body=b"large\r\n" * 100_000))
        one.until_logged("hop down")
        store = {"url": f"sqlite:///{one.at.state}/gateway.db"}
        two = install(server=secret, store=store, relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
        until(lambda: smarthost.received("bob@example.net"), two.story)
    assert smarthost.deliveries[0].data.endswith(b"large\r\n" * 100_000)
    assert not two.logged("a body cannot be read")
    until(lambda: not spooled(one), two.story)
