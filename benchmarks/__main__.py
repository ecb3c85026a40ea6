"""Runs the benchmark: `python -m benchmarks [--quick]`; ROWS=A,B picks rows, WORKERS=2 is the gateway's `server.workers`."""

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import programs, rows_everyday, rows_size, rows_strain
from benchmarks.about import about
from benchmarks.bench import Bench
from benchmarks.failure import BenchmarkFailed
from benchmarks.figures import Line
from benchmarks.results import caption, keep
from benchmarks.scene import Scene
from benchmarks.table import cells, plain

ROWS: Mapping[str, Callable[[Bench], Iterator[Line]]] = {
    "A": rows_everyday.sign_in_and_send,
    "B": rows_everyday.bulk,
    "C": rows_everyday.large,
    "D": rows_strain.flood,
    "E": rows_strain.idle,
    "F": rows_size.large_table,
    "G": rows_size.backlog,
    "H": rows_everyday.many_recipients,
    "I": rows_size.on_postgresql,
    "J": rows_strain.first_sign_ins,
}
QUICK = "ABCDJ"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def chosen(quick: bool) -> list[str]:
    rows = os.environ.get("ROWS", "").upper().replace(",", "") or ("".join(row for row in ROWS if not quick or row in QUICK))
    if unknown := set(rows) - ROWS.keys():
        raise BenchmarkFailed(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return list(rows)


def measured(bench: Bench, rows: Sequence[str]) -> tuple[list[Line], list[str]]:
    """The lines of all rows, and which rows failed."""
    lines, failures = list[Line](), list[str]()
    for row in rows:
        try:
            for line in ROWS[row](bench):
                lines.append(line)
                say("  ".join(filter(None, cells(line))))
        except (BenchmarkFailed, AssertionError) as failed:
            failures.append(row)
            say(f"row {row} failed: {failed}")
            bench.scene.sink.until_quiet(None, 5.0)  # what is still on its way would be counted for the next row
    return lines, failures


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    rows, workers = chosen(quick), int(os.environ.get("WORKERS", "2"))
    programs.require(name for name in programs.PACKAGES if name not in programs.OF_ROW_I or "I" in rows)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # an idle session is an open file, in two processes
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Not /tmp, which may be memory, where a sync costs nothing
    tempfile.tempdir = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Scene(Path(folder), workers) as scene:
        lines, failures = measured(Bench(scene, quick), rows)
        machine = about(Path(folder), workers)
    say("\n".join(("", caption(machine), "", *plain(lines))))
    if failures:
        raise BenchmarkFailed(f"rows that failed, see above: {', '.join(failures)}; nothing is kept")
    if not quick and set(rows) == ROWS.keys():
        keep(lines, machine)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkFailed as failed:
        sys.exit(f"benchmark: {failed}")
