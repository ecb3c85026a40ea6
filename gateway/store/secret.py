"""The secret of a state directory, and what tells it from others: made once, kept for its owner alone."""

import os
from collections.abc import Callable
from pathlib import Path

from gateway.errors import ConfigError

OCTETS = 32


def state_secret(state_dir: Path, random: Callable[[int], bytes], name: str = "secret") -> bytes:
    """The octets in the file `name` of `state_dir`, made with `random` when there are none. Raises ConfigError."""
    path = state_dir / name
    try:
        if not path.exists():
            _write(path, random(OCTETS))
        kept = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"server.state_dir: cannot read or make {path}: {error.strerror}"]) from None
    if len(kept) != OCTETS:
        raise ConfigError([f"server.state_dir: {path} does not hold {OCTETS} octets; remove it to have a new one made"])
    return kept


def kept_secret(state_dir: Path) -> bytes | None:
    """The octets in `state_dir`/secret, for who must not make any; None when there are none, or none to be read."""
    try:
        kept = (state_dir / "secret").read_bytes()
    except OSError:
        return None
    return kept if len(kept) == OCTETS else None


def _write(path: Path, content: bytes) -> None:
    """In one step: a crash must not leave half a secret."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
