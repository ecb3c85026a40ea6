"""A log file of several processes: no line lost or torn when it begins anew, whoever renames it."""

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.logfile import LogFile
from tests.descriptors import open_descriptors


def every_line(folder: Path) -> list[str]:
    return [line for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n", "utf-8")
    LogFile(tmp_path / "log").write("after ä\n")
    assert (tmp_path / "log").read_text("utf-8") == "before\nafter ä\n"


def test_a_large_file_is_renamed_and_so_are_the_older_ones(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", large=10)
    for number in range(3):
        log.write(f"number {number}\n")
        log.write("0123456789\n")
    assert {path.name: path.read_text("utf-8").split("\n")[0] for path in tmp_path.iterdir()} == {
        "log": "number 2",
        "log.1": "number 1",
        "log.2": "number 0",
    }


def test_other_files_beside_it_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.gz").touch()
    (tmp_path / "log.01").touch()
    log = LogFile(tmp_path / "log", large=1)
    log.write("a\n")
    log.write("b\n")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1", "log.gz", "log.01"}


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize("take_away", [renamed, Path.unlink])
def test_a_file_taken_away_by_others_is_made_again(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    log = LogFile(tmp_path / "log")
    log.write("one\n")
    take_away(tmp_path / "log")
    log.write("two\n")
    assert (tmp_path / "log").read_text("utf-8") == "two\n"


def test_several_that_write_and_rename_lose_nothing(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        log = LogFile(tmp_path / "log", large=2000)
        for number in range(300):
            log.write(f"{writer} {number}\n")

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert sorted(every_line(tmp_path)) == sorted(f"{writer} {number}" for writer in range(4) for number in range(300))
    assert len(list(tmp_path.iterdir())) > 3


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="there is no /proc/locks")
def test_who_finds_that_another_has_just_renamed_it_does_not_do_it_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("much\n", "utf-8")
    log = LogFile(path, large=1)
    with path.open() as other, ThreadPoolExecutor() as writers:
        fcntl.flock(other, fcntl.LOCK_EX)
        writing = writers.submit(log.write, "more\n")
        while not (writing.done() or f":{path.stat().st_ino} " in _waited_for()):
            os.sched_yield()  # pytest's own limit ends it
        path.rename(tmp_path / "log.1")
        path.write_text("", "utf-8")
        fcntl.flock(other, fcntl.LOCK_UN)
        writing.result()
    assert {each.name: each.read_text("utf-8") for each in tmp_path.iterdir()} == {"log": "more\n", "log.1": "much\n"}


def _waited_for() -> str:
    """The lines of the kernel's table that are for somebody who waits."""
    return "".join(line for line in Path("/proc/locks").read_text("ascii").splitlines(keepends=True) if "->" in line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_raises_nothing() -> None:
    LogFile(Path("/dev/full")).write("lost\n")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", large=1)
    before = open_descriptors()
    for _ in range(5):
        log.write("x\n")
    assert open_descriptors() == before


def test_one_that_cannot_be_renamed_grows_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)  # with .1 behind it, a name would be too long
    one, other = (LogFile(path, large=10) for _ in range(2))
    for number in range(5):
        one.write(f"one {number}\n")
        other.write(f"other {number}\n")
    assert every_line(tmp_path) == [f"{who} {number}" for number in range(5) for who in ("one", "other")]
