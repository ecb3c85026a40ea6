"""Mail that waits for its next hop while its sender's account is disabled: held, and sent once somebody decides so."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.commands import read, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, submit
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until

HELD = "held: its account is disabled"


@pytest.fixture
def gateway(install: Install, smarthost: Smarthost) -> GatewayProcess:
    """Two messages wait: of their account, which is disabled by now, and of nobody else. Their smarthost is back."""
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    smarthost.down()
    submit(gateway, message("one"), "bob@example.net")
    submit(gateway, message("two"), "carl@example.net", "blind@example.net")
    gateway.until_logged("hop down")
    assert {row["state"] for row in waiting(gateway)} == {"queued"}
    gateway.at.accounts.set_active(LOGIN, active=False)
    smarthost.up()
    gateway.until_logged(HELD, 2)
    assert smarthost.deliveries == []
    return gateway


def waiting(gateway: GatewayProcess) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = read(gateway, "queue", "list")
    return rows


def holds(gateway: GatewayProcess) -> dict[str, tuple[str, str]]:
    return {row["address"].partition("@")[0]: (row["state"], row["hold"]) for row in waiting(gateway)}


def test_held_while_disabled_and_sent_once_enabled(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    assert holds(gateway) == dict.fromkeys(("bob", "carl", "blind"), ("held", "account"))
    assert "smtp_gateway_queue_held 3.0" in gateway.get("/metrics")[1]
    assert gateway.stop() == 0
    gateway.start()  # a restart changes nothing
    assert holds(gateway) == dict.fromkeys(("bob", "carl", "blind"), ("held", "account"))
    gateway.at.accounts.set_active(LOGIN, active=True)
    gateway.until_logged("delivered", 3)
    assert [len(smarthost.received(f"{who}@example.net")) for who in ("bob", "carl", "blind")] == [1, 1, 1]
    assert waiting(gateway) == []


def test_an_operator_decides_otherwise(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    rows = {row["address"].partition("@")[0]: row for row in waiting(gateway)}
    tool(gateway, "queue", "release", rows["bob"]["message_id"], str(rows["blind"]["id"]))
    tool(gateway, "queue", "hold", str(rows["carl"]["id"]))
    gateway.until_logged("delivered", 2)
    assert len(smarthost.received("bob@example.net")) == len(smarthost.received("blind@example.net")) == 1
    assert holds(gateway) == {"carl": ("held", "operator")}
    gateway.at.accounts.set_active(LOGIN, active=True)
    tool(gateway, "queue", "release", str(rows["carl"]["id"]))
    until(lambda: smarthost.received("carl@example.net"), gateway.story)


def test_a_login_table_that_cannot_be_read_holds_up_no_mail(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    smarthost.down()
    submit(gateway, message("one"), "bob@example.net")
    gateway.until_logged("hop down")
    with gateway.at.accounts.away():
        smarthost.up()
        gateway.until_logged("delivered")
    assert gateway.logged("cannot read the login table; queued mail is sent without asking it")


def test_a_deleted_account_is_as_one_that_is_disabled(install: Install, smarthost: Smarthost) -> None:
    gateway = install(relay={"next_hop": [smarthost.url], "retry": ["1s"]}).start()
    smarthost.replies = {b"RCPT": b"451 4.7.1 later\r\n"}
    submit(gateway, message("one"), "bob@example.net")
    gateway.until_logged("retry")
    gateway.at.accounts.delete(LOGIN)
    gateway.until_logged(HELD)
    assert holds(gateway) == {"bob": ("held", "account")}
