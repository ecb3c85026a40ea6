"""One gateway for one state directory."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.store.lockfile import hold, is_held


def problem(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        hold(folder)
    (line,) = caught.value.problems
    return line


def test_the_second_is_told_and_the_next_after_the_first_gets_in(tmp_path: Path) -> None:
    first = hold(tmp_path / "var")
    assert problem(tmp_path / "var") == (
        f"server.state_dir: another gateway uses {tmp_path}/var; stop it, or give this one its own"
    )
    os.close(first)
    os.close(hold(tmp_path / "var"))


def test_whether_one_runs_can_be_asked_by_anybody(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "var")
    assert not (tmp_path / "var").exists()
    first = hold(tmp_path / "var")
    assert is_held(tmp_path / "var")
    os.close(first)
    assert not is_held(tmp_path / "var")
    os.close(hold(tmp_path / "var"))  # to ask takes nothing


def test_the_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    os.close(hold(tmp_path / "deep" / "var"))
    assert stat.S_IMODE((tmp_path / "deep" / "var").stat().st_mode) == 0o700


def test_a_process_that_dies_gives_it_back(tmp_path: Path) -> None:
    script = f"import os; from pathlib import Path; from gateway.store.lockfile import hold; hold(Path({str(tmp_path)!r}))"
    held = script + "; print('held', flush=True); import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert "another gateway uses" in problem(tmp_path)
        other.kill()
        other.wait()
    os.close(hold(tmp_path))


def test_programs_that_we_start_do_not_keep_it(tmp_path: Path) -> None:
    descriptor = hold(tmp_path)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert problem(tmp_path / "file" / "var").startswith(f"server.state_dir: cannot open {tmp_path}/file/var/lock: ")
