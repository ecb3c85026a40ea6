"""PostgreSQL as the store: it goes away and comes back, and what got a 250 arrives (promise 4 of ARCHITECTURE.md)."""

import os
import smtplib
from functools import partial

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, run_tool
from tests.acceptance.ledger import RECIPIENTS, Ledger, clients, ends_empty, stored
from tests.acceptance.mail import message, parts, session, submit
from tests.acceptance.shared_store import SharedStore, WaitingSmarthost, shared_store
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import PATIENCE, until

__all__ = ["shared_store"]
TAKEN_OVER = "mail of gateways that died was taken over"
ROUNDS = int(os.environ.get("GATEWAY_SOAK_ROUNDS", "3"))


def test_mail_goes_and_a_large_body_is_kept_in_the_store(shared_store: SharedStore) -> None:
    with WaitingSmarthost() as hop:
        gateway = shared_store.machine(relay={"next_hop": [hop.url]}).start()
        submit(gateway, message("small"))
        large = b"".join(b"line %d\r\n" % n for n in range(200_000))
        submit(gateway, message("large", body=large))
        for _ in range(2):
            assert hop.has.acquire(timeout=PATIENCE)
        assert shared_store.count("body_chunk") == -(-len(large) // (256 * 1024))
        assert not (gateway.at.state / "spool").exists()
        hop.let_go.set()
        until(lambda: len(hop.deliveries) == 2, gateway.story)
        assert max((parts(delivery.data)[1] for delivery in hop.deliveries), key=len) == large
        until(lambda: not shared_store.count("body_chunk"), gateway.story)
        ends_empty(gateway)


def test_a_store_that_was_not_migrated_is_refused_with_the_cure(shared_store: SharedStore) -> None:
    gateway = shared_store.machine()
    shared_store.database.run("DROP TABLE alembic_version")
    gateway.spawn()
    assert gateway.wait() == 2
    assert "store.url: the store is at nothing" in gateway.errors()
    assert "run `smtp-gateway store migrate`" in gateway.errors()


def test_without_a_secret_to_share_it_is_refused(shared_store: SharedStore) -> None:
    gateway = shared_store.machine()
    gateway.at.write_settings({"server": {"secret": ""}})
    done = run_tool(gateway.at.folder, "config", "check")
    assert done.returncode == 2
    assert "server.secret: is missing" in done.stderr


def test_while_it_is_away_mail_is_refused_and_what_is_under_way_is_finished_and_written_down(
    shared_store: SharedStore,
) -> None:
    with WaitingSmarthost() as hop:
        gateway = shared_store.machine(relay={"next_hop": [hop.url], "retry": ["1s"]}).start()
        with session(gateway) as client:
            client.sendmail(LOGIN, ["bob@example.net"], message("under-way"))
            assert hop.has.acquire(timeout=PATIENCE)
            shared_store.server.process.kill()
            client.mail(LOGIN)
            client.rcpt("bob@example.net")
            assert client.data(message("refused"))[0] == 451
            with pytest.raises(smtplib.SMTPAuthenticationError) as signing_in:
                session(gateway)
            assert signing_in.value.smtp_code == 454
            assert gateway.get("/readyz")[0] == 503
            assert gateway.get("/healthz")[0] == 200
            hop.let_go.set()
            until(lambda: hop.deliveries, gateway.story)
            shared_store.server.process.start()
            gateway.until_logged("delivered")
            until(lambda: gateway.get("/readyz")[0] == 200, gateway.story)
            client.sendmail(LOGIN, ["bob@example.net"], message("after"))
        until(lambda: len(hop.deliveries) == 2, gateway.story)
        ends_empty(gateway)
    names = [str(delivery.message["Message-ID"]) for delivery in hop.deliveries]
    assert names == ["<under-way@test.example>", "<after@test.example>"]


@pytest.mark.timeout(300 + 40 * ROUNDS)
def test_it_is_killed_and_started_again_under_load(shared_store: SharedStore) -> None:
    gateway, ledger = shared_store.machine().start(), Ledger()
    for _ in range(ROUNDS):
        with clients(gateway, ledger, patient=True):
            _some_more(gateway, ledger)
            shared_store.server.process.kill()
            shared_store.server.process.start()
            _some_more(gateway, ledger)
    for recipient in RECIPIENTS:
        until(partial(_all_stored, gateway, recipient, ledger), gateway.story)
        assert max(stored(gateway, recipient).values()) == 1
    ends_empty(gateway)


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_the_gateway_is_killed_under_load(shared_store: SharedStore) -> None:
    """Its leases are free as soon as it starts again, without a wait for its heartbeat to be too old."""
    gateway, ledger = shared_store.machine(), Ledger()
    for _ in range(ROUNDS):
        gateway.start()
        with clients(gateway, ledger):
            _some_more(gateway, ledger)
            gateway.kill()
    gateway.start()
    for recipient in RECIPIENTS:
        until(partial(_all_stored, gateway, recipient, ledger), gateway.story)
        assert max(stored(gateway, recipient).values()) == 1
    assert not gateway.logged(TAKEN_OVER)
    ends_empty(gateway)


def test_a_queue_moves_from_sqlite_to_postgresql(shared_store: SharedStore, install: Install, smarthost: Smarthost) -> None:
    smarthost.down()
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}, server={"secret": "x" * 32}).start()
    large = b"".join(b"line %d\r\n" % n for n in range(50_000))
    submit(gateway, message("small"))
    submit(gateway, message("large", body=large))
    refused = run_tool(gateway.at.folder, "store", "copy", shared_store.database.url)
    assert refused.returncode == 1
    assert "another gateway uses" in refused.stderr
    assert gateway.stop() == 0
    done = run_tool(gateway.at.folder, "store", "copy", shared_store.database.url)
    assert done.returncode == 0, done.stderr
    assert "message: 2\n" in done.stdout
    gateway.at.write_settings({"store": {"url": shared_store.database.url}})
    smarthost.up()
    gateway.start()
    until(lambda: len(smarthost.deliveries) == 2, gateway.story)
    assert max((parts(delivery.data)[1] for delivery in smarthost.deliveries), key=len) == large
    ends_empty(gateway)


def _some_more(gateway: GatewayProcess, ledger: Ledger) -> None:
    enough = len(ledger.accepted) + 15
    until(lambda: len(ledger.accepted) >= enough, gateway.story)


def _all_stored(gateway: GatewayProcess, recipient: str, ledger: Ledger) -> bool:
    return ledger.accepted <= set(stored(gateway, recipient))
