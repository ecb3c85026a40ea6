"""One installation of the gateway in a folder of its own: settings, certificate, login table, store."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.login_table import LoginTable

LOGIN = "ann@example.com"
PASSWORD = "correct horse battery"
PROGRAMS = Path(sys.executable).parent

Settings = Mapping[str, Any]


def environment() -> dict[str, str]:
    """Ours, without what would let a process import the checkout instead of the installed wheel."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSTARTUP")}


def run_tool(folder: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """`smtp-gateway --config <folder>/gateway.toml ARGUMENTS...`, from another directory."""
    command = [str(PROGRAMS / "smtp-gateway"), "--config", str(folder / "gateway.toml"), *arguments]
    return subprocess.run(
        command, cwd=elsewhere(folder), env=environment(), input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def elsewhere(folder: Path) -> Path:
    """A working directory that is neither the checkout nor the installation: paths must not depend on it."""
    other = folder / "elsewhere"
    other.mkdir(parents=True, exist_ok=True)
    return other


class Installation:
    """`overrides` are laid over `defaults`, a section at a time. `template` is a store that was migrated already."""

    def __init__(self, folder: Path, ca: trustme.CA, template: Path, overrides: Settings) -> None:
        self.folder = folder
        self.config = folder / "gateway.toml"
        self.state = folder / "var"
        self.mail = self.state / "mail"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self.ca = ca
        self.authorities = folder / "authorities.pem"
        self.state.mkdir(parents=True)
        shutil.copy(template, self.state / "gateway.db")
        ca.cert_pem.write_to_path(self.authorities)
        self.renew(ca)
        self.accounts = LoginTable(self.state / "accounts.db")
        self.accounts.add(LOGIN, PASSWORD)
        self.settings = merged(self.defaults(), overrides)
        self.write_settings()

    def defaults(self) -> dict[str, Any]:
        return {
            "server": {"hostname": "gateway.example"},
            "listen": [{"port": 0, "security": "starttls"}, {"port": 0, "security": "tls"}],
            "tls": {"certificate": self.certificate.name, "key": self.key.name},
            "accounts": {"columns": {"max_message_size": "max_message_size"}},
            "lockout": {"delay": "20ms"},
            "relay": {"next_hop": ["maildir:var/mail"], "retry": ["1s"]},
            "http": {"port": 0},
            "log": {"format": "json"},
        }

    def write_settings(self, overrides: Settings | None = None) -> None:
        """Write the file again, with more changes laid over."""
        self.settings = merged(self.settings, overrides or {})
        self.config.write_text("".join(toml(self.settings)), "utf-8")

    def renew(self, ca: trustme.CA, *names: str) -> trustme.LeafCert:
        """A new certificate and key in the files, each replaced in one step."""
        leaf = ca.issue_cert("localhost", "127.0.0.1", "gateway.example", *names)
        for path, content in ((self.key, leaf.private_key_pem.bytes()), (self.certificate, chain(leaf))):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.rename(path)
        return leaf


def chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def merged(below: Settings, above: Settings) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def toml(document: Settings, path: str = "") -> list[str]:
    """The lines of a TOML file: tables, lists of tables, and values that JSON writes the same way."""
    here = [f"{key} = {json.dumps(value)}\n" for key, value in document.items() if not _nested(value)]
    for key, value in document.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            here += [f"[{name}]\n", *toml(value, f"{name}.")]
        elif _nested(value):
            here += [line for each in value for line in (f"[[{name}]]\n", *toml(each, f"{name}."))]
    return here


def _nested(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def require_program(name: str) -> str:
    """The path of an outside program; without it the test is skipped with its name."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
