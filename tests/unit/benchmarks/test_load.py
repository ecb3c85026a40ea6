"""What the load generator is told, what it reports, and when that is no sound run."""

import json
from typing import Any

import pytest

from benchmarks.failure import BenchmarkFailed
from benchmarks.load import Shape, Waits, parse, sound

WAITS = {"n": 2, "p50": 1.5, "p95": 2.0, "p99": 2.5, "max": 3.0}
COUNTS = ("accepted", "rejected", "sessions", "resumed", "failed", "auths", "auth_failed", "guesses", "octets")


def told(**changes: Any) -> str:
    """As smtpload.c writes it."""
    waits = {"message_ms": WAITS, "auth_ms": WAITS, "session_ms": WAITS}
    return json.dumps({"seconds": 4.0, **dict.fromkeys(COUNTS, 0), **waits, "codes": {"250": 10}, **changes})


def test_a_report_is_read() -> None:
    report = parse(told(accepted=8, octets=32768))
    assert (report.seconds, report.accepted, report.octets, report.codes) == (4.0, 8, 32768, {"250": 10})
    assert report.auth == Waits(n=2, p50=1.5, p99=2.5, max=3.0)


@pytest.mark.parametrize("text", ["", "smtpload: socket: Too many open files", "[]", "{}", told(auth_ms={}), told(strange=1)])
def test_what_is_no_report_is_told(text: str) -> None:
    with pytest.raises(BenchmarkFailed, match="no report"):
        parse(text)


@pytest.mark.parametrize("counts", [{"accepted": 10, "auths": 10}, {"accepted": 10, "auths": 1}, {"auths": 10}])
def test_a_sound_run(counts: dict[str, int]) -> None:
    assert sound(parse(told(**counts)), 10)


@pytest.mark.parametrize(
    "counts",
    [
        {"accepted": 9},
        {"accepted": 11},
        {"accepted": 10, "rejected": 1},
        {"accepted": 10, "failed": 1},
        {"accepted": 10, "auth_failed": 1},
        {"auths": 9},
        {"accepted": 9, "auths": 10},
    ],
)
def test_a_run_with_losses_is_worth_nothing(counts: dict[str, int]) -> None:
    with pytest.raises(BenchmarkFailed, match="not all were taken"):
        sound(parse(told(**counts)), 10)


def test_sign_ins_may_be_turned_away_where_that_is_what_is_measured() -> None:
    assert sound(parse(told(accepted=7, auths=7, auth_failed=3)), 10, turned_away=True)
    for lost in ({"accepted": 6}, {"rejected": 1}, {"failed": 1}):
        with pytest.raises(BenchmarkFailed):
            sound(parse(told(**{"accepted": 7, "auths": 7, "auth_failed": 3, **lost})), 10, turned_away=True)


def test_words_of_a_shape() -> None:
    words = Shape(connections=10, messages=40, size=25_000_000, resume=True).words()
    options = dict(zip(words[:-1:2], words[1:-1:2], strict=True))
    assert (options["-c"], options["-m"], options["-n"], options["-s"]) == ("10", "40", "1", "25000000")
    assert words[-1] == "-R"
