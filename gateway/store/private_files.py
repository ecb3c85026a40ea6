"""State files are for the gateway's user alone: what has looser modes is mended when a server starts.

They hold mail, keys and fingerprints of passwords. A copy that was restored from a backup, or made with a careless umask, is
readable for everybody on the machine.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway import maillog
from gateway.store.engine import parse_url, sqlite_file

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
# What a gateway puts into its state directory. Others may keep files beside them: those are left alone.
_OURS = ("lock", "secret", "node", "writer", "writer-next", "self-signed.key", "demo-password")
_BESIDE_A_STORE = ("", "-wal", "-shm", "-journal")


def make_private(state_dir: Path, store_url: str) -> None:
    """Take from others what they may do with our files, and say so in a line each.

    What belongs to another user cannot be mended: that is a warning. Blocks: for the start only. Raises ConfigError.
    """
    url = parse_url(store_url, "store.url")
    store = sqlite_file(url) if url.get_backend_name() == "sqlite" else None
    for path in _paths(state_dir, store):
        try:
            _tighten(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            maillog.loose_mode(str(path), error.strerror or type(error).__name__)


def _tighten(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):  # of another file than ours
        return
    wanted = PRIVATE_FOLDER if stat.S_ISDIR(status.st_mode) else PRIVATE_FILE
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~wanted:
        os.chmod(path, mode & wanted)
        maillog.mode_mended(str(path), f"{mode:04o}", f"{mode & wanted:04o}")


def _paths(state_dir: Path, store: Path | None) -> Iterator[Path]:
    yield state_dir
    yield from (state_dir / name for name in _OURS)
    if store is None:
        return
    yield from (store.with_name(store.name + end) for end in _BESIDE_A_STORE)
    for folder, _, files in os.walk(store.parent / "spool"):  # follows no links
        yield Path(folder)
        yield from (Path(folder) / name for name in files)
