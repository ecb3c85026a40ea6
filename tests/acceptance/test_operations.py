"""What an operator looks at: metrics, health, logs; and what must never be in them."""

import base64
import json
import signal

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.mail import message, submit, until_arrived
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import greeted, plain, signed_in

# The names that dashboards rely on
FAMILIES = {
    "connections",
    "connections_total",
    "tls_handshakes_total",
    "commands_total",
    "command_seconds",
    "auth_attempts_total",
    "auth_seconds",
    "password_hash_seconds",
    "password_hashes_waiting",
    "accounts_query_seconds",
    "accounts_errors_total",
    "messages_total",
    "message_bytes",
    "recipients_total",
    "store_commit_seconds",
    "store_commit_items",
    "store_errors_total",
    "queue_recipients",
    "queue_oldest_seconds",
    "queue_held",
    "deliveries_total",
    "delivery_attempt_seconds",
    "delivery_delay_seconds",
    "hop_connections",
    "reports_total",
    "tls_certificate_expiry_seconds",
    "build_info",
}


def sample(text: str, name: str) -> float:
    """The value of one line of /metrics, named with its labels."""
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"smtp_gateway_{name} "))


def test_metrics_have_their_names_and_count(install: Install, smarthost: Smarthost) -> None:
    smarthost.replies = {b"RCPT TO:<gone@": b"550 5.1.1 no such user\r\n"}
    gateway = install(relay={"next_hop": [smarthost.url]}).start()
    submit(
        gateway, message(cc="carl@example.net"), "bob@example.net", "carl@example.net", "blind@example.net", "gone@example.net"
    )
    with greeted(gateway) as wire:
        wire.sign_in(password="guess")
    until(lambda: len(smarthost.deliveries) == 3, gateway.story)  # the visible ones, the blind one, the report
    gateway.until_logged("delivered", 4)
    status, text = gateway.get("/metrics")
    assert status == 200
    there = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {f"smtp_gateway_{name}" for name in FAMILIES} <= there
    for name, value in {
        'auth_attempts_total{mechanism="PLAIN",result="ok"}': 1,
        'auth_attempts_total{mechanism="PLAIN",result="wrong"}': 1,
        'messages_total{result="accepted"}': 1,
        'recipients_total{field="to"}': 1,
        'recipients_total{field="cc"}': 1,
        'recipients_total{field="bcc"}': 2,
        'deliveries_total{result="delivered"}': 4,
        'deliveries_total{result="failed"}': 1,
        'reports_total{kind="failed"}': 1,
        "store_errors_total": 0,
    }.items():
        assert sample(text, name) == value, name
    assert sample(text, "tls_certificate_expiry_seconds") > 3600
    for secret in (LOGIN, "example.net", "bob@", "test.example"):
        assert secret not in text


def test_health_and_readiness(gateway: GatewayProcess) -> None:
    assert gateway.get("/healthz")[0] == 200
    status, text = gateway.get("/readyz")
    assert (status, json.loads(text)) == (200, {"login_table": "ok", "store": "ok", "listeners": "ok"})
    with gateway.at.accounts.away():
        status, text = gateway.get("/readyz")
        assert (status, json.loads(text)) == (503, {"login_table": "failed", "store": "ok", "listeners": "ok"})
        assert gateway.get("/healthz")[0] == 200
    assert gateway.get("/readyz")[0] == 200
    assert gateway.get("/nothing")[0] == 404


SECRET = "Sw0rdf1sh-not-in-any-log"
OTHER = "Wr0ng-guess-not-in-any-log"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_in_any_log_or_metric(install: Install, form: str) -> None:
    gateway = install(log={"format": form, "level": "debug"})
    gateway.at.accounts.set_password(LOGIN, SECRET)
    if form == "json":
        gateway.start()
    else:  # ports are read from JSON lines
        gateway.at.write_settings({"log": {"format": "json"}})
        gateway.start()
        gateway.at.write_settings({"log": {"format": "console"}})
        _reload(gateway)
    _use_everything(gateway)
    text = gateway.raw_log() + gateway.errors() + gateway.get("/metrics")[1]
    assert "sign-in" in text
    for secret in _forms(gateway):
        assert secret not in text, secret
    if form == "json":
        assert len(gateway.lines()) > 5  # each was parsed
    for file in ("gateway.db", "gateway.db-wal"):
        octets = (gateway.at.state / file).read_bytes()
        assert SECRET.encode() not in octets
        assert OTHER.encode() not in octets


def _reload(gateway: GatewayProcess) -> None:
    gateway.signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in gateway.raw_log(), gateway.story)


def _use_everything(gateway: GatewayProcess) -> None:
    """Sign-ins good and bad, in every form, with the table there and away, and a message."""
    with greeted(gateway) as wire:
        wire.sign_in(password=OTHER)
        wire.sign_in("nobody@example.com", OTHER)
        wire.command("AUTH LOGIN")
        wire.command(_b64(LOGIN))
        assert wire.command(_b64(OTHER)).code == 535
    with greeted(gateway) as wire:
        with gateway.at.accounts.away():
            assert wire.sign_in(password=SECRET).code == 454
        wire.command("AUTH PLAIN " + _b64(SECRET))  # not the three parts that PLAIN has
        wire.command("AUTH PLAIN " + _b64(SECRET) + "!")
        wire.command("AUTH " + SECRET)
        wire.command(SECRET)  # a client that has lost its place
    with signed_in(gateway, password=SECRET) as wire:
        wire.envelope("bob@example.net")
        assert wire.data(message()).code == 250
    until_arrived(gateway, "bob@example.net")


def _forms(gateway: GatewayProcess) -> list[str]:
    """Secrets as they might be written: plain, in base64, as an AUTH line, hashed."""
    lines = [plain(LOGIN, password) for password in (SECRET, OTHER, PASSWORD)]
    return [SECRET, OTHER, _b64(SECRET), _b64(OTHER), *lines, gateway.at.accounts.hash_of(LOGIN), "$2b$"]


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
