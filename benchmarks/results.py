"""Writing down a complete run: its JSON, its picture, and the table of README.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.failure import BenchmarkFailed
from benchmarks.figures import Line, as_json

_FOLDER = Path(__file__).with_name("results")
_README = Path(__file__).parents[1] / "README.md"
_BEGIN, _END = "<!-- benchmark: written by make bench -->\n", "<!-- /benchmark -->"


def keep(lines: Sequence[Line], about: Mapping[str, Any], folder: Path = _FOLDER, readme: Path = _README) -> None:
    """Replace what the latest run has left."""
    from benchmarks import plot  # matplotlib is slow to come, and only a complete run needs it

    folder.mkdir(exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(as_json(lines, about), indent=1, ensure_ascii=False) + "\n", "utf-8")
    plot.draw(lines, caption(about), folder)
    written = "\n".join((caption(about), "", *table.markdown(lines), ""))
    readme.write_text(between_marks(readme.read_text("utf-8"), written), "utf-8")


def caption(about: Mapping[str, Any]) -> str:
    """What the figures depend on, in a line."""
    machine = "{date}: {cores} cores ({processor}), {file system}; ".format_map(about)
    return machine + "gateway {gateway}, {workers} workers; Postfix {postfix}, Dovecot {dovecot}".format_map(about)


def between_marks(text: str, new: str) -> str:
    """`text` with what stands between the two marks replaced. Raises BenchmarkFailed when it has not one pair of them."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end or _BEGIN in after or _END in after:
        raise BenchmarkFailed("README.md has lost the marks between which the table belongs")
    return f"{before}{begin}{new}{end}{after}"
