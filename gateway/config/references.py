"""What a value may stand for: `${NAME}` from the environment, `x_file` from a file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.config.files import SECRETS, read_secret
from gateway.config.problems import Problem

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# user and password of a URL that is written out: "smtp://user:${PASSWORD}@..."
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+_]*://(?:[^/?$]|\$(?!\{)|\$\{[^}]*\})*@")


class Environment:
    """Replaces `${NAME}` in texts, and collects what cannot be replaced."""

    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._environ = environ
        self._problems = problems

    def filled(self, value: Any, at: str) -> Any:
        """A copy of `value`, the lists and tables in it too."""
        if isinstance(value, dict):
            return {key: self.filled(each, f"{at}.{key}" if at else key) for key, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each, f"{at}.{number}") for number, each in enumerate(value, 1)]
        return self._text(value, at) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, at: str) -> str:
        """A password comes as it is: in the user and password of a URL it is percent-encoded on its way in."""
        userinfo = _USERINFO.match(text)
        end = userinfo.end() if userinfo else 0

        def value(found: re.Match[str]) -> str:
            plain = self._value(found, at)
            return quote(plain, safe="") if found.start() < end else plain

        return _REFERENCE.sub(value, text)

    def _value(self, found: re.Match[str], at: str) -> str:
        if not found[2] or not _NAME.fullmatch(found[1]):
            self._problems.append(Problem(at, 'has "${" without a name and "}"; write for instance "${DB_PASSWORD}"'))
            return ""
        value = self._environ.get(found[1])
        if value is None:
            self._problems.append(Problem(at, f"needs the environment variable {found[1]}, which is not set; set it"))
        elif not _is_utf8(value):
            self._problems.append(Problem(at, f"needs the environment variable {found[1]}, which is not UTF-8; set it anew"))
            return ""
        return value or ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a surrogate: the environment had other bytes
        return False
    return True


def read_secret_files(document: dict[str, Any], base: Path, problems: list[Problem]) -> dict[str, Any]:
    """A copy of `document` with each `x_file` replaced by `x`. `relay.next_hop_file` has a URL a line."""
    filled = dict(document)
    for section, keys in SECRETS.items():
        table = document.get(section)
        if isinstance(table, dict):
            filled[section] = _with_secrets(section, dict(table), keys, base, problems)
    return filled


def _with_secrets(at: str, table: dict[str, Any], keys: tuple[str, ...], base: Path, problems: list[Problem]) -> dict[str, Any]:
    for key in keys:
        if f"{key}_file" not in table:
            continue
        name = table.pop(f"{key}_file")
        if key in table:
            problems.append(Problem(f"{at}.{key}", f"is given twice, as {key} and as {key}_file; keep one of them"))
            continue
        try:
            secret = read_secret(base / _name(name))
            table[key] = _lines(secret) if key == "next_hop" else secret
        except ValueError as problem:
            problems.append(Problem(f"{at}.{key}_file", str(problem)))
    return table


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text; put the path in quotes")
    return value
