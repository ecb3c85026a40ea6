"""A change in the login table reaches sessions that are open, on every gateway that reads it, and no message slips past."""

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.sharing import two_that_share_a_store
from tests.acceptance.wire import Reply, Wire, attempt, signed_in

NEW = "tr0ub4dor&3"
MIB = 1 << 20


def assert_cut(wire: Wire, said: Reply) -> None:
    """`said` was its last word."""
    assert said.head == "421 4.7.0"
    assert "Your sign-in is no longer valid; sign in again" in said.text
    assert wire.rest() == b""
    wire.close()


def assert_nothing_queued(*gateways: GatewayProcess) -> None:
    for gateway in gateways:
        assert not gateway.logged("accepted")
        assert gateway.stop() == 0  # what was under way is over
        spool = gateway.at.state / "spool"
        assert [path for path in spool.rglob("*") if path.is_file()] == []
        gateway.start()
        assert gateway.figure("queue_recipients") == 0


def test_a_lock_made_at_one_holds_at_the_other_and_ends_at_both(install: Install) -> None:
    first, second = two_that_share_a_store(install)
    for number in range(5):
        assert attempt((first, second)[number % 2], password=f"guess {number}").code == 535
    assert [attempt(gateway).code for gateway in (first, second)] == [454, 454]
    first.at.accounts.set_password(LOGIN, NEW)
    assert [attempt(gateway, password=NEW).code for gateway in (first, second)] == [235, 235]


def test_a_password_changed_by_hand_counts_at_once_on_two_gateways(install: Install) -> None:
    gateways = two_that_share_a_store(install)
    sessions = [signed_in(gateway) for gateway in gateways for _ in range(2)]
    for waits, writes in zip(sessions[::2], sessions[1::2], strict=True):
        waits.envelope("bob@example.net")  # before the change, and none of it counts
        assert waits.command("RSET").code == 250
        writes.envelope("bob@example.net")
        assert writes.command("DATA").code == 354
        writes.send(message("under way"))
    gateways[0].at.accounts.set_password(LOGIN, NEW)
    for waits, writes in zip(sessions[::2], sessions[1::2], strict=True):
        assert_cut(waits, waits.command(f"MAIL FROM:<{LOGIN}>"))
        writes.send(b".\r\n")
        assert_cut(writes, writes.reply())
    for gateway in gateways:
        assert attempt(gateway).head == "535 5.7.8"
        assert attempt(gateway, password=NEW).head == "235 2.7.0"
        assert gateway.figure("sessions_cut_total", reason="password") == gateway.figure("sessions_cut_total") == 2
    assert_nothing_queued(*gateways)


def test_the_memo_of_a_password_ends_with_its_hash(gateway: GatewayProcess) -> None:
    """However often a password was right: the attempt after the change is refused, and after the change back is not."""
    accounts = gateway.at.accounts
    for _ in range(3):
        assert attempt(gateway).code == 235
    assert gateway.hashes == 1
    for password, other in ((NEW, PASSWORD), (PASSWORD, NEW)):
        accounts.set_password(LOGIN, password)
        assert [attempt(gateway, password=old).code for old in (other, other)] == [535, 535]
        assert [attempt(gateway, password=new).code for new in (password, password)] == [235, 235]
    assert gateway.hashes == 5  # each password once under each stored hash


def test_the_same_password_hashed_anew_ends_the_session_and_signs_in_again(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as wire:
        gateway.at.accounts.set_password(LOGIN, PASSWORD)
        assert_cut(wire, wire.command(f"MAIL FROM:<{LOGIN}>"))
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        assert wire.data(message()).code == 250
    until_arrived(gateway, "bob@example.net")


def _large(wire: Wire) -> bytes:
    """By DATA, large enough for a file; what ends it is still to be sent."""
    assert wire.command("DATA").code == 354
    wire.send(message("large", body=b"x" * 70 + b"\r\n") + (b"y" * 70 + b"\r\n") * (2 * MIB // 72))
    return b".\r\n"


def _chunks(wire: Wire) -> bytes:
    octets = message("chunks")
    wire.send(f"BDAT {len(octets)}\r\n".encode() + octets)
    assert wire.reply().code == 250
    return b"BDAT 6 LAST\r\nlast\r\n"


@pytest.mark.parametrize("begin", [_large, _chunks])
def test_a_message_under_way_is_not_queued(gateway: GatewayProcess, begin: Callable[[Wire], bytes]) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net", "blind@example.net")
        end = begin(wire)
        gateway.at.accounts.set_password(LOGIN, NEW)
        wire.send(end)
        assert_cut(wire, wire.reply())
    assert_nothing_queued(gateway)


def _delete(gateway: GatewayProcess) -> None:
    gateway.at.accounts.delete(LOGIN)


def _disable(gateway: GatewayProcess) -> None:
    gateway.at.accounts.set_active(LOGIN, active=False)


@pytest.mark.parametrize(("change", "reason"), [(_delete, "deleted"), (_disable, "disabled")])
def test_an_account_deleted_or_disabled_under_a_message(
    gateway: GatewayProcess, change: Callable[[GatewayProcess], None], reason: str
) -> None:
    with signed_in(gateway) as writes, signed_in(gateway) as waits:
        writes.envelope("bob@example.net")
        change(gateway)
        assert_cut(writes, writes.data(message()))
        assert_cut(waits, waits.command(f"MAIL FROM:<{LOGIN}>"))
    assert gateway.figure("sessions_cut_total", reason=reason) == gateway.figure("sessions_cut_total") == 2
    assert attempt(gateway).head == "535 5.7.8"
    assert_nothing_queued(gateway)


def test_an_account_that_may_no_longer_use_smtp(install: Install) -> None:
    gateway = install(accounts={"columns": {"active": "", "smtp_enabled": "is_active"}}).start()
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        _disable(gateway)
        assert_cut(wire, wire.data(message()))
    assert attempt(gateway).head == "535 5.7.8"
