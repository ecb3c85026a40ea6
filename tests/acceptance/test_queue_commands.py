"""The queue commands beside a running gateway: an operator sees what waits, hurries it or takes it out."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import read, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import run_tool
from tests.acceptance.mail import message, submit
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until


@pytest.fixture
def gateway(install: Install, smarthost: Smarthost) -> GatewayProcess:
    """Its smarthost wants to be asked again later, and it would not for an hour."""
    smarthost.replies = {b"RCPT": b"451 4.7.1 later\r\n"}
    return install(relay={"next_hop": [smarthost.url], "retry": ["1h"]}).start()


def waiting(gateway: GatewayProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read(gateway, "queue", "list")
    return rows


def _spooled(gateway: GatewayProcess) -> list[Path]:
    return [path for path in (gateway.at.state / "spool").rglob("*") if path.is_file()]


def test_list_retry_and_delete(gateway: GatewayProcess, smarthost: Smarthost) -> None:
    submit(gateway, message("one"), "bob@example.net")
    submit(gateway, message("two", body=b"large\r\n" * 20_000), "carl@example.net")
    gateway.until_logged("retry", 2)
    first, second = waiting(gateway)
    assert (first["address"], second["address"]) == ("bob@example.net", "carl@example.net")
    assert (first["state"], first["attempts"], first["code"]) == ("queued", 1, 451)
    assert _spooled(gateway)
    tool(gateway, "queue", "delete", second["message_id"])
    smarthost.replies = {}
    tool(gateway, "queue", "retry", first["message_id"])
    until(lambda: smarthost.received("bob@example.net"), gateway.story)
    gateway.until_logged("delivered")
    assert waiting(gateway) == []
    assert not smarthost.received("carl@example.net")
    assert not _spooled(gateway)


def test_accounts_of_a_foreign_table_are_left_alone(gateway: GatewayProcess) -> None:
    done = run_tool(gateway.at.folder, "accounts", "add", "eve@example.com")
    assert done.returncode == 1
    assert "your own login table" in done.stderr
