"""One gateway for one state directory: a lock file, which the kernel releases when its process dies."""

import fcntl
import os
from pathlib import Path

from gateway.errors import ConfigError


def hold(state_dir: Path) -> int:
    """Lock `state_dir` until this process ends, and return the descriptor that keeps it locked. Raises ConfigError."""
    path = state_dir / "lock"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([f"server.state_dir: cannot open {path}: {error.strerror}"]) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError([f"server.state_dir: another gateway uses {state_dir}; stop it, or give this one its own"]) from None
    return descriptor
