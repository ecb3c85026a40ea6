"""Lines of figures as a table, for a terminal and in Markdown."""

from collections.abc import Iterator, Sequence

from benchmarks.figures import Line

_HEAD = ("", "load", "unit", "gateway", "peer", "ratio", "target", "met")
_VERDICT = {True: "yes", False: "no", None: ""}


def figure(value: float | None) -> str:
    """Three digits that count, and no more."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cells(line: Line) -> tuple[str, ...]:
    ratio = "–" if line.ratio is None else f"{figure(line.ratio)} x"
    target = "" if line.target is None else str(line.target)
    return (
        line.row,
        line.what,
        line.unit,
        figure(line.our_median),
        figure(line.peer_median),
        ratio,
        target,
        _VERDICT[line.met],
    )


def plain(lines: Sequence[Line]) -> Iterator[str]:
    """A line of text each, in columns."""
    rows = [_HEAD, *map(cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = (cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True))
        right = (cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True))
        yield "  ".join((*left, *right)).rstrip()


def markdown(lines: Sequence[Line]) -> Iterator[str]:
    yield f"| {' | '.join(_HEAD)} |"
    yield "|---|---|---|--:|--:|--:|--:|---|"
    for line in lines:
        yield f"| {' | '.join(cells(line))} |"
