"""A fresh installation for each test, copied from one that `init` made once, and a way to run commands in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.command import root

Run = Callable[..., Result]


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
def settings(folder: Path) -> Callable[..., None]:
    """Replaces text in the settings: `settings(old, new)`; `old` must be there."""

    def replace(old: str, new: str) -> None:
        file = folder / "gateway.toml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")

    return replace
