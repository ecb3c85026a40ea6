"""What an operator types beside a running gateway: `smtp-gateway ...`, with what it prints."""

import json
from typing import Any

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import run_tool


def tool(gateway: GatewayProcess, *arguments: str) -> str:
    """What it prints. It must succeed."""
    done = run_tool(gateway.at.folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(gateway: GatewayProcess, *arguments: str) -> Any:
    """What it prints with --json."""
    return json.loads(tool(gateway, *arguments, "--json"))


def new_credential(gateway: GatewayProcess, name: str) -> str:
    """Make an SMTP user of a domain that is there; its password."""
    return str(read(gateway, "credentials", "create", name)["password"])


def refused(gateway: GatewayProcess, *arguments: str) -> str:
    """The one clear line of a command that must be refused."""
    done = run_tool(gateway.at.folder, *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line
