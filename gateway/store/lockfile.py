"""One gateway for one state directory: a lock file, which the kernel releases when its process dies."""

import fcntl
import os
from pathlib import Path

from gateway.errors import ConfigError


def is_held(state_dir: Path) -> bool:
    """Whether a gateway runs on `state_dir`; False too where this user may not look.

    The look itself shares the lock for an instant, in which a start would be refused.
    """
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
