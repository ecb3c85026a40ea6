"""What operators copy: rules, dashboard, unit and configuration name only things that exist; so do the package and CI."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway import config
from gateway.metrics import Metrics

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
METRIC = re.compile(r"\bsmtp_gateway_[a-z_]+")


def exported() -> dict[str, str]:
    """Series as a query writes it -> the family it belongs to."""
    families = Metrics(CollectorRegistry()).registry.collect()
    return {f"{family.name}{suffix}": family.name for family in families for suffix in SUFFIXES[family.type]}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Every PromQL text of the dashboard."""
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query")


def run(*argv: str, cwd: Path = ROOT) -> str:
    """Standard output and error of a program that has to succeed; the test is skipped where it is not installed."""
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml"])
def test_rules_name_metrics_that_are_exported(file: str) -> None:
    named = set(METRIC.findall((PROMETHEUS / file).read_text()))
    assert named
    assert named <= exported().keys()


def test_dashboard_names_metrics_that_are_exported() -> None:
    assert {name for query in queries() for name in METRIC.findall(query)} <= exported().keys()


def test_dashboard_shows_every_family() -> None:
    shown = {exported()[name] for query in queries() for name in METRIC.findall(query)}
    assert shown == set(exported().values())


def test_rules_are_sound() -> None:
    run("promtool", "check", "rules", "--lint-fatal", "alerts.yml", cwd=PROMETHEUS)


def test_rules_fire_and_keep_quiet() -> None:
    run("promtool", "test", "rules", "alerts_test.yml", cwd=PROMETHEUS)


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(set(alerts)) == len(alerts) == rules.count("action: ") == rules.count("severity: ")
    firing = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", (PROMETHEUS / "alerts_test.yml").read_text())
    assert set(firing) == set(alerts)


def test_dashboard_takes_its_data_source_from_the_choice() -> None:
    assert DASHBOARD["schemaVersion"] >= 38  # Grafana 10
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_dashboard_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_dashboard_queries_are_promql(tmp_path: Path) -> None:
    """As recording rules, with Grafana's own variables filled in, so that promtool parses them."""
    written = [query.replace("$__rate_interval", "5m") for panel in panels() for query in _expressions(panel)]
    rules = [{"record": f"query:number_{n}", "expr": expr} for n, expr in enumerate(written)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    run("promtool", "check", "rules", "queries.yml", cwd=tmp_path)


def _expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@pytest.fixture
def production(tmp_path: Path) -> config.Config:
    """deploy/production.toml, read with the two credentials that the systemd unit hands over."""
    (tmp_path / "accounts-url").write_text("postgresql://gateway:accounts-secret@db.example.com/app\n")
    (tmp_path / "smarthost-password").write_text("hop-secret\n")
    return config.load(DEPLOY / "production.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_production_ports(production: config.Config) -> None:
    assert {each.port: each.security for each in production.listen} == {
        25: "starttls",
        465: "tls",
        587: "starttls",
        2525: "starttls",
    }
    assert not any(each.allow_plaintext_auth for each in production.listen)


def test_production_hops_verify_the_server_that_gets_the_password(production: config.Config) -> None:
    assert [(hop.tls, hop.verify, hop.user) for hop in production.relay.next_hop] == [("required", True, "gateway")] * 2
    assert {hop.password.get_secret_value() for hop in production.relay.next_hop} == {"hop-secret"}


def test_production_secrets_come_from_files_and_are_not_shown(production: config.Config) -> None:
    assert production.accounts.url.get_secret_value() == "postgresql://gateway:accounts-secret@db.example.com/app"
    shown = config.show(production)
    assert "db.example.com" in shown
    assert "accounts-secret" not in shown
    assert "hop-secret" not in shown


NOT_BUILT = {"server.workers", "limits.daily_recipients", "limits.on_daily_limit"}


def test_readme_names_every_setting_with_its_default(tmp_path: Path) -> None:
    [written] = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "gateway.toml").write_text(written)
    readme = config.load(tmp_path / "gateway.toml", {})
    (tmp_path / "gateway.toml").write_text("")
    plain = config.load(tmp_path / "gateway.toml", {})
    same = set(config.Config.model_fields) - {"listen", "tls"}
    assert readme.model_dump(include=same) == plain.model_dump(include=same)
    named = tomllib.loads(written)
    for section in same - {"accounts"}:
        keys = set(getattr(config, section.capitalize()).model_fields)
        assert {key for key in keys - named[section].keys() if f"{section}.{key}" not in NOT_BUILT} == set()


def test_unit_hands_over_what_the_configuration_asks_for() -> None:
    asked = set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/([a-z-]+)", (DEPLOY / "production.toml").read_text()))
    unit = (DEPLOY / "smtp-gateway.service").read_text()
    admin = (DEPLOY / "smtp-gateway-admin").read_text()
    assert set(re.findall(r"LoadCredential=([a-z-]+):", unit)) == asked
    assert set(re.findall(r"^LoadCredential=\S+", unit, re.MULTILINE)) == set(re.findall(r"LoadCredential=\S+", admin))
    assert "User=smtp-gateway\nGroup=smtp-gateway\n" in unit
    assert "--uid=smtp-gateway --gid=smtp-gateway" in admin
    for one in ("StateDirectory=smtp-gateway", "StateDirectoryMode=0700", "UMask=0077"):
        assert f"{one}\n" in unit
        assert f"--property={one} " in admin


def test_admin_runs_the_command_with_its_arguments_as_the_service(tmp_path: Path) -> None:
    """With a systemd-run of ours, which says how it was called."""
    stand_in = tmp_path / "systemd-run"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    argv = [str(DEPLOY / "smtp-gateway-admin"), "login", "test", "a b"]
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    called = done.stdout.splitlines()
    assert called[-6:] == [
        "/opt/smtp-gateway/bin/smtp-gateway",
        "--config",
        "/etc/smtp-gateway/gateway.toml",
        "login",
        "test",
        "a b",
    ]
    assert "--uid=smtp-gateway" in called


def test_production_store_is_made_without_credentials() -> None:
    """`store migrate`, before anybody has handed over a secret."""
    found = config.load(DEPLOY / "production.toml", {}, only=("server", "store", "lockout"))
    assert found.store.url.get_secret_value() == "sqlite:////var/lib/smtp-gateway/gateway.db"


def test_unit_is_sound(tmp_path: Path) -> None:
    """systemd's own check, with a program that exists here in the place of ours."""
    unit = (DEPLOY / "smtp-gateway.service").read_text()
    (tmp_path / "smtp-gateway.service").write_text(re.sub("/opt/smtp-gateway/bin/[a-z-]+", "/bin/true", unit))
    assert run("systemd-analyze", "verify", "--man=no", "smtp-gateway.service", cwd=tmp_path) == ""


def test_pinned_requirements_cover_what_the_package_asks_for() -> None:
    """Hashes for all, no address of an index, no path of the machine that wrote them."""
    runtime, dev = (_pins(ROOT / name) for name in ("requirements.txt", "requirements-dev.txt"))
    assert runtime.items() <= dev.items()
    asked = re.findall(r"^    ([\w-]+)[\[\] \w]*>=", (ROOT / "setup.cfg").read_text().split("[options.entry")[0], re.MULTILINE)
    assert "twisted" in asked
    assert {name.lower() for name in asked} <= dev.keys()


def _pins(path: Path) -> dict[str, str]:
    text = path.read_text()
    assert not re.search(r"https?://|file:|(?<![\w*])/\w", text)
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+).*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\w.*==", text, re.MULTILINE)) > 0
    return dict(found)


def test_the_installed_package_is_this_checkout() -> None:
    """Acceptance tests run the wheel: it has to hold every module, and none that has gone or changed since."""
    found = list(importlib.metadata.distributions(name="account-smtp-gateway", path=[sysconfig.get_path("purelib")]))
    if not found:
        pytest.skip("the package is not installed here; make test installs it")
    installed = {str(path): path.read_text() for path in found[0].files or () if path.suffix == ".py"}
    folders = (ROOT / "gateway", ROOT / "twisted" / "plugins")
    assert installed == {str(path.relative_to(ROOT)): path.read_text() for folder in folders for path in folder.rglob("*.py")}


PROBE = """
import unittest
import pytest

def test_runs() -> None:
    pass

class Trial(unittest.TestCase):
    def test_left_out(self) -> None:
        self.skipTest("swaks is not installed")
"""


@pytest.mark.parametrize(("forbidden", "status", "processes"), [("", 0, "0"), ("1", 1, "0"), ("1", 1, "2")])
def test_a_skip_fails_a_run_that_forbids_it(tmp_path: Path, forbidden: str, status: int, processes: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_probe.py").write_text(PROBE)
    argv = [sys.executable, "-m", "pytest", "-p", "no:twisted", "-n", processes, "-q", "test_probe.py"]
    environ = {**os.environ, "GATEWAY_NO_SKIPS": forbidden, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("FAILED (skipped) test_probe.py::Trial::test_left_out" in done.stdout) is bool(forbidden)
