"""The table in a terminal, in Markdown, and between the marks of a document."""

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.failure import BenchmarkFailed
from benchmarks.figures import Line, Target
from benchmarks.table import figure, markdown, plain

LINES = [
    Line("A", "sign in", "sessions/s", [812.4], [8.13], target=Target("ratio", 50)),
    Line("C", "memory", "MB", [222.0], [], less_is_better=True, target=Target("ours", 200, at_most=True)),
    Line("D", "part", "", [0.704], [0.67]),
]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.704, "0.70"), (9.99, "9.99"), (35.84, "35.8"), (812.4, "812"), (12345.6, "12,346")]
)
def test_figure(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_plain_is_in_columns() -> None:
    assert list(plain(LINES)) == [
        "   load     unit        gateway  peer   ratio  target  met",
        "A  sign in  sessions/s      812  8.13  99.9 x  ≥ 50 x  yes",
        "C  memory   MB              222     –       –   ≤ 200   no",
        "D  part                    0.70  0.67  1.05 x",
    ]


def test_markdown_has_as_many_cells_in_each_line() -> None:
    head, rule, *rows = markdown(LINES)
    assert rows[0] == "| A | sign in | sessions/s | 812 | 8.13 | 99.9 x | ≥ 50 x | yes |"
    assert {line.count("|") for line in (head, rule, *rows)} == {9}


BEGIN, END = "<!-- benchmark: written by make bench -->\n", "<!-- /benchmark -->"


@pytest.mark.parametrize("old", ["", "| old |\n"])
def test_what_stands_between_the_marks_is_replaced(old: str) -> None:
    assert results.between_marks(f"a\n{BEGIN}{old}{END}\nb\n", "| new |\n") == f"a\n{BEGIN}| new |\n{END}\nb\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_document_without_one_pair_of_marks_is_left_alone(text: str) -> None:
    with pytest.raises(BenchmarkFailed, match="marks"):
        results.between_marks(text, "new")


def test_our_readme_has_the_marks() -> None:
    readme = Path(__file__).parents[3] / "README.md"
    assert "| new |" in results.between_marks(readme.read_text("utf-8"), "| new |\n")
