"""Machines over one store: the same lockouts, the same queue, and the mail of one that dies goes out from another."""

import signal
import smtplib

import pytest
from sqlalchemy import text

from tests.acceptance.installation import LOGIN
from tests.acceptance.ledger import ends_empty
from tests.acceptance.mail import message, session, submit
from tests.acceptance.shared_store import SharedStore, WaitingSmarthost, shared_store
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import PATIENCE, until

__all__ = ["shared_store"]
TAKEN_OVER = 90.0  # seconds, on a busy machine; a minute is what is promised


def test_a_lock_made_at_one_holds_at_the_other(shared_store: SharedStore) -> None:
    one = shared_store.machine(lockout={"failures": 3}).start()
    accounts = {"url": f"sqlite:///{one.at.accounts.path}"}
    two = shared_store.machine(lockout={"failures": 3}, accounts=accounts).start()
    for number in range(3):  # Python's client tries another mechanism at once, and the third time finds the lock
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            session((one, two)[number % 2], password=f"wrong {number}")
        assert wrong.value.smtp_code == (535 if number < 2 else 454)
    for gateway in (one, two):
        with pytest.raises(smtplib.SMTPAuthenticationError) as locked:
            session(gateway)
        assert locked.value.smtp_code == 454


def test_what_one_cannot_send_the_other_does(shared_store: SharedStore, smarthost: Smarthost) -> None:
    """Its next hop is down; once it gives the lease back, whoever looks first takes it."""
    with Smarthost() as away:
        away.down()
        one = shared_store.machine(relay={"next_hop": [away.url], "retry": ["1s"]}).start()
        submit(one, message("m"))
        one.until_logged("hop down")
        two = shared_store.machine(relay={"next_hop": [smarthost.url]}).start()
        until(lambda: smarthost.received("bob@example.net"), two.story)
        ends_empty(two)


def test_the_mail_of_a_machine_that_is_killed_is_delivered_by_another(shared_store: SharedStore, smarthost: Smarthost) -> None:
    two = shared_store.machine(relay={"next_hop": [smarthost.url]}).start()
    with WaitingSmarthost() as stuck:
        one = shared_store.machine(relay={"next_hop": [stuck.url], "connections": 5}).start()
        with session(one) as client:
            for number in range(12):
                client.sendmail(LOGIN, ["bob@example.net"], message(f"m{number}"))
        for _ in range(5):
            assert stuck.has.acquire(timeout=PATIENCE)
        one.kill()
        until(lambda: len(smarthost.deliveries) == 12, two.story, TAKEN_OVER)
        stuck.let_go.set()
    names = {str(delivery.message["Message-ID"]) for delivery in smarthost.deliveries}
    assert names == {f"<m{number}@test.example>" for number in range(12)}
    two.until_logged("mail of gateways that died was taken over", gateways=1)
    ends_empty(two)


def test_a_machine_that_stood_still_finds_that_its_mail_is_another_s(shared_store: SharedStore, smarthost: Smarthost) -> None:
    two = shared_store.machine(relay={"next_hop": [smarthost.url]}).start()
    with WaitingSmarthost() as stuck:
        one = shared_store.machine(relay={"next_hop": [stuck.url]}).start()
        submit(one, message("m"))
        assert stuck.has.acquire(timeout=PATIENCE)
        one.signal(signal.SIGSTOP)
        until(lambda: smarthost.received("bob@example.net"), two.story, TAKEN_OVER)
        two.until_logged("delivered")
        stuck.let_go.set()
        one.signal(signal.SIGCONT)
        one.until_logged("outcomes of deliveries came too late and were dropped")
        one.until_logged("this gateway stood still for so long that others took it for dead; its deliveries are theirs now")
        submit(one, message("n"))
        one.until_logged("delivered")
    ends_empty(two)


def test_one_that_is_stopped_while_it_waits_for_the_store_at_its_start_ends_in_order(shared_store: SharedStore) -> None:
    gateway = shared_store.machine()
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with shared_store.database.connected() as somebody:
        somebody.execute(text("LOCK TABLE process"))
        gateway.spawn()
        until(lambda: shared_store.database.run(waits), gateway.story)
        gateway.signal(signal.SIGTERM)
        gateway.until_logged("stopping")
        assert gateway.wait() == 0, gateway.story()
    usual = {"state file made private", "a database hangs: its connections are cut"}
    assert [line["event"] for line in gateway.lines() if line["event"] not in usual] == ["stopping", "stopped"]
