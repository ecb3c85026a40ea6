"""The tables of docs/what-is-taken.md, run against the program: each example has the reply that its row says."""

import re
from pathlib import Path

import pytest

from tests.harness import Gateway

TEXT = (Path(__file__).parents[2] / "docs" / "what-is-taken.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (MAIL|RCPT|DATA) \| `(.+?)` \| (\d{3} \d\.\d\.\d) \|", TEXT, re.MULTILINE)
BEFORE = {
    "MAIL": b"",
    "RCPT": b"MAIL FROM:<demo@example.com>\r\n",
    "DATA": b"MAIL FROM:<demo@example.com>\r\nRCPT TO:<to@example.net>\r\nDATA\r\n",
}


@pytest.mark.parametrize(("at", "example", "reply"), ROWS, ids=[f"{at} {example}" for at, example, _ in ROWS])
def test_an_example_has_the_reply_of_its_row(at: str, example: str, reply: str) -> None:
    client = Gateway().signed_in()
    client.ask(BEFORE[at])
    octets = example.replace(r"\n", "\r\n").encode()
    said = client.ask(octets + (b".\r\n" if at == "DATA" else b"\r\n")).decode()
    assert said.startswith(f"{reply} "), said


def test_every_row_of_the_tables_is_run() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith(("| at", "|---"))]
    assert len(rows) == len(ROWS) > 30
