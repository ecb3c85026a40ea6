"""How listings are printed: columns for people, JSON with the same keys for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, object]

_WIDEST = 60  # characters of one cell; the whole is in --json


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, with keys that stay the same.")(function)


def print_json(value: object) -> None:
    click.echo(json.dumps(_exact(value), indent=2, ensure_ascii=not _is_unicode(sys.stdout.encoding)))


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


def _exact(value: object) -> object:
    """Every fraction here is seconds ago or to come: to the millisecond, and never below 0 (what is overdue, or two clocks)."""
    match value:
        case float():
            return max(0.0, round(value, 3))
        case Mapping():
            return {key: _exact(each) for key, each in value.items()}
        case list() | tuple():
            return [_exact(each) for each in value]
        case _:
            return value


def print_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """A line a row under the keys of the first one as headings; `empty` (to standard error) when there is none."""
    if as_json:
        print_json([dict(row) for row in rows])
    elif rows:
        print_table(rows)
    else:
        click.echo(empty, err=True)


def print_table(rows: Sequence[Row]) -> None:
    cells = [[key.replace("_", " ") for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    """One printable line: a remote server's words must not move the operator's cursor."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return cut(str(value), _WIDEST)


def cut(text: str, most: int) -> str:
    """One printable line of at most `most` characters."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def counted(count: int, what: str) -> str:
    """ "1 lockout", "2 lockouts"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def age(seconds: float) -> str:
    """Seconds in the largest unit that leaves two figures or so: "45s", "12m", "30h", "9d"."""
    for size, unit, most in ((1, "s", 120), (60, "m", 120), (3600, "h", 72)):
        if seconds < size * most:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86400:.0f}d"
