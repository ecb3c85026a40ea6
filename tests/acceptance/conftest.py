"""Fixtures of the acceptance tests: an authority, a store made once, and gateways that are gone when the test is."""

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import Installation, Settings, merged, run_tool, toml
from tests.acceptance.smarthost import Smarthost

Install = Callable[..., GatewayProcess]


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as `smtp-gateway store migrate` makes it."""
    try:
        importlib.metadata.version("account-smtp-gateway")
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("the gateway is not installed in this environment: run `make test PYTEST_ARGS=tests/acceptance`")
    folder = tmp_path_factory.mktemp("template")
    (folder / "var").mkdir()
    (folder / "gateway.toml").write_text("".join(toml({"listen": [{"port": 0}]})), "utf-8")
    done = run_tool(folder, "store", "migrate")
    assert done.returncode == 0, done.stderr
    return folder / "var" / "gateway.db"


@pytest.fixture
def install(tmp_path: Path, ca: trustme.CA, template: Path) -> Iterator[Install]:
    """`install(section={...}, ...)`: a gateway that is not started yet, and is ended with the test."""
    made: list[GatewayProcess] = []

    def make(overrides: Settings | None = None, **sections: Any) -> GatewayProcess:
        folder = tmp_path / f"gateway-{len(made)}"
        made.append(GatewayProcess(Installation(folder, ca, template, merged(overrides or {}, sections))))
        return made[-1]

    yield make
    for gateway in made:
        gateway.clean_up()
        shutil.rmtree(gateway.at.mail, ignore_errors=True)  # pytest keeps the folders of three runs; the mail is large


@pytest.fixture
def gateway(install: Install) -> GatewayProcess:
    """One with the default settings, serving."""
    return install().start()


@pytest.fixture
def smarthost() -> Iterator[Smarthost]:
    """A next hop that does as it is told, up."""
    with Smarthost() as hop:
        yield hop
