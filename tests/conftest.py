"""How pytest runs here: no deadline on a slow machine, no test over midnight, and no skips where GATEWAY_NO_SKIPS is set.

Database servers for whoever asks: one of each kind a process, started when a test first asks for it.
"""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.acceptance.waiting import until
from tests.servers.databases import Mariadb, Postgresql

DAY, ONE_TEST = 86400, 120  # seconds

# Two shared cores: a pause of the machine must not read as a slow example, nor as one that is slow to make.
settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gateway")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """No test begins shortly before midnight in UTC: what is counted by day, by whatever clock, is to be one day's."""
    until(lambda: time.time() % DAY < DAY - ONE_TEST, "midnight in UTC has not passed", ONE_TEST + 10)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    server = Postgresql()
    yield server
    server.process.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    server = Mariadb()
    yield server
    server.process.close()


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    """What was skipped so far; empty in a process of pytest-xdist, which has no terminal."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    return terminal.stats.get("skipped", []) if terminal and os.environ.get("GATEWAY_NO_SKIPS") else []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _skipped(session.config) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = _skipped(config)
    if skipped:
        terminalreporter.section("skipped, and GATEWAY_NO_SKIPS is set", red=True)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"FAILED (skipped) {report.nodeid}: {reason}")
