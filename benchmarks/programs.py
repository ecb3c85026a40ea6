"""The outside programs of the benchmark, and the Debian package that has each."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from benchmarks.failure import BenchmarkFailed

PACKAGES = {
    "cc": "gcc libssl-dev",
    "postfix": "postfix",
    "smtp-sink": "postfix",
    "postconf": "postfix",
    "dovecot": "dovecot-core dovecot-sqlite",
    "initdb": "postgresql",
    "postgres": "postgresql",
}
OF_ROW_I = ("initdb", "postgres")


def found(name: str) -> str | None:
    """Its path; None when it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or next(map(str, debian), None)


def program(name: str) -> str:
    """Its path. Raises BenchmarkFailed, with the package to install."""
    path = found(name)
    if path is None:
        raise BenchmarkFailed(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return path


def require(names: Iterable[str]) -> None:
    """Raises BenchmarkFailed with the packages of all that are missing."""
    missing = sorted({PACKAGES[name] for name in names if found(name) is None})
    if missing:
        raise BenchmarkFailed(f"programs are missing: apt-get install {' '.join(missing)}")
