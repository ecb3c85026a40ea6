"""A fresh installation for each test, copied from one that `init` made once; ways to run commands in it and fill its store."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.command import root
from gateway.config import load
from gateway.store.engine import opened

Run = Callable[..., Result]
Put = Callable[..., None]


def run_in(folder: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(root, ["--config", str(folder / "gateway.toml"), *arguments], input=stdin)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    assert run_in(folder, "init").exit_code == 0
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A folder with what `init` writes; paths in the settings are relative to it."""
    return Path(shutil.copytree(pristine, tmp_path / "gateway"))


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs `smtp-gateway --config <folder>/gateway.toml ARGUMENTS...`."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return run_in(folder, *arguments, stdin=stdin)

    return run


@pytest.fixture
def put(folder: Path) -> Put:
    """Runs a function on a connection to the installation's store: `put(function, ARGUMENTS...)`."""

    def put(function: Callable[..., None], *arguments: Any, **named: Any) -> None:
        with opened(load(folder / "gateway.toml", {}).store.url.get_secret_value(), write=True) as connection:
            function(connection, *arguments, **named)

    return put


@pytest.fixture
def settings(folder: Path) -> Callable[..., None]:
    """Replaces text in the settings: `settings(old, new)`; `old` must be there."""

    def replace(old: str, new: str) -> None:
        file = folder / "gateway.toml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")

    return replace
