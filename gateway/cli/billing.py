"""A month's usage as CSV or JSON, written while it is read: it may be millions of lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import IO, Any

from gateway.cli.account_names import Logins
from gateway.store.usage import UsageDay

Row = Mapping[str, Any]

_COUNTS = ("messages", "to", "cc", "bcc", "recipients", "bytes", "refusals")
COLUMNS = ("account_id", "login", "day", *_COUNTS)
TOTALS = ("account_id", "login", *_COUNTS)
BATCH = 500  # lines whose logins are asked for together
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # begins what spreadsheets run
_SPECIAL = frozenset(',"\r\n')  # what makes a cell need quotes


def counts(day: UsageDay) -> dict[str, int]:
    return dict(zip(_COUNTS, _figures(day), strict=True))


def lines(days: Iterable[UsageDay]) -> Iterator[Row]:
    """A row for each account and day."""
    return ({"account_id": day.account_id, "day": str(day.date), **counts(day)} for day in days)


def totals(days: Iterable[UsageDay]) -> Iterator[Row]:
    """A row for each account, in the order of their ids."""
    sums: dict[str, tuple[int, ...]] = {}
    for day in days:
        before = sums.get(day.account_id, (0,) * len(_COUNTS))
        sums[day.account_id] = tuple(map(sum, zip(before, _figures(day), strict=True)))
    for account_id in sorted(sums):
        yield {"account_id": account_id, **dict(zip(_COUNTS, sums[account_id], strict=True))}


def with_logins(rows: Iterator[Row], logins: Logins | None) -> Iterator[Row]:
    """Each row with the account's login, None when it is gone or nobody is to be asked."""
    while batch := list(islice(rows, BATCH)):
        known = logins({row["account_id"] for row in batch}) if logins is not None else {}
        yield from ({**row, "login": known.get(row["account_id"])} for row in batch)


def write_csv(rows: Iterator[Row], columns: Sequence[str], out: IO[str]) -> None:
    """As RFC 4180 has it, but with LF alone at the end of a line."""
    rows = _begun(rows)
    out.write(",".join(columns) + "\n")
    for row in rows:
        out.write(",".join(_cell(row[column]) for column in columns) + "\n")


def write_json(rows: Iterator[Row], columns: Sequence[str], out: IO[str]) -> None:
    """One array, an object a line."""
    between = "[\n  "
    for row in _begun(rows):
        out.write(between + json.dumps({column: row[column] for column in columns}, ensure_ascii=False))
        between = ",\n  "
    out.write("[]\n" if between[0] == "[" else "\n]\n")


def _figures(day: UsageDay) -> tuple[int, ...]:
    """In the order of _COUNTS."""
    classes = (day.to_recipients, day.cc_recipients, day.bcc_recipients)
    return (day.messages, *classes, day.recipients, day.bytes, day.refusals)


def _begun(rows: Iterator[Row]) -> Iterator[Row]:
    """`rows`, with the first one read: when the store or the login table is away, nothing is written."""
    return chain(list(islice(rows, 1)), rows)


def _cell(value: str | int | None) -> str:
    """Not by the library: it leaves a bare CR unquoted, which its own reader takes for the end of a line."""
    text = "" if value is None else str(value)
    if isinstance(value, str) and text.startswith(_FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.intersection(text) else text
