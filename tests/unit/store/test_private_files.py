"""State files that others may read are made private at the start; what is not ours is left alone."""

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.store.private_files import make_private


def put(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def made_private(state: Path, store: Path) -> list[Any]:
    with capture_logs() as logs:
        make_private(state, f"sqlite:///{store}")
    return logs


def test_what_is_private_is_left_and_nothing_is_said(state: Path) -> None:
    put(state / "secret", 0o600)
    put(state / "lock", 0o400)
    assert made_private(state, state / "gateway.db") == []
    assert mode(state / "lock") == 0o400


def test_each_file_and_folder_of_ours_is_mended_with_a_line(state: Path) -> None:
    files = [put(state / name, 0o644) for name in ("secret", "self-signed.key", "gateway.db", "gateway.db-wal")]
    files += [put(state / "spool" / "zY" / "00000000000000zY", 0o666), put(state / "spool" / "tmp" / "new", 0o640)]
    folders = [state / "spool", state / "spool" / "zY", state / "spool" / "tmp", state]
    for folder in folders:
        folder.chmod(0o755)
    logs = made_private(state, state / "gateway.db")
    assert {mode(path) for path in files} == {0o600}
    assert {mode(path) for path in folders} == {0o700}
    assert {line["event"] for line in logs} == {"state file made private"}
    assert sorted(line["path"] for line in logs) == sorted(str(path) for path in (*files, *folders))
    assert made_private(state, state / "gateway.db") == []


def test_what_is_not_ours_is_left_alone(state: Path, tmp_path: Path) -> None:
    others = [put(state / "self-signed.pem", 0o644), put(state / "accounts.db", 0o644), put(state / "notes.txt", 0o644)]
    (state / "secret").symlink_to(put(tmp_path / "elsewhere", 0o644))
    assert made_private(state, state / "gateway.db") == []
    assert {mode(path) for path in (*others, tmp_path / "elsewhere")} == {0o644}


def test_what_cannot_be_mended_is_a_warning(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(state / "secret", 0o644)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    (line,) = made_private(state, state / "gateway.db")
    assert (line["event"], line["path"]) == ("state file is not private", str(state / "secret"))
    assert line["reason"] == "Operation not permitted"
