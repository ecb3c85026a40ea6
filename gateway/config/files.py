"""Secrets kept in files of their own: which settings may be given as `x_file`, and reading one."""

from collections.abc import Mapping
from pathlib import Path

_LARGEST = 65536  # octets; no secret is larger, a wrong file may be

SECRETS: Mapping[str, tuple[str, ...]] = {
    "server": ("secret",),
    "accounts": ("url", "pepper"),
    "store": ("url",),
    "relay": ("next_hop",),
}


def read_secret(path: Path) -> str:
    """The text of `path` without its last line end. Raises ValueError saying what is wrong with the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as problem:
        raise ValueError(f"cannot be read ({problem.strerror}): {path}") from None
    except ValueError:
        raise ValueError("is not the name of a file; give a path") from None
    if len(raw) > _LARGEST:
        raise ValueError(f"is larger than {_LARGEST} octets: {path}; is it the right file?")
    try:
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"is not UTF-8 text: {path}") from None
    if not text:
        raise ValueError(f"is empty: {path}")
    return text
