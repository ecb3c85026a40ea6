"""Medians, ratios and verdicts, and the JSON that keeps them."""

import json

import pytest

from benchmarks.figures import Line, Target, as_json

AT_LEAST, AT_MOST = Target("ratio", 3), Target("ours", 50, at_most=True)


def line(ours: list[float], peer: list[float], *, less: bool = False, target: Target | None = None) -> Line:
    return Line("B", "bulk", "messages/s", ours, peer, less, target)


@pytest.mark.parametrize(
    ("ours", "peer", "less", "ratio"),
    [
        ([300.0], [100.0], False, 3.0),
        ([50.0, 300.0, 9000.0], [100.0], False, 3.0),  # the median of three
        ([200.0, 400.0], [100.0], False, 3.0),  # between the two in the middle
        ([100.0], [300.0], True, 3.0),  # times as good, not times as much
        ([300.0], [100.0], True, 1 / 3),
        ([300.0], [], False, None),
        ([], [100.0], False, None),
        ([300.0], [0.0], False, None),
        ([0.0], [100.0], True, None),
    ],
)
def test_ratio(ours: list[float], peer: list[float], less: bool, ratio: float | None) -> None:
    assert line(ours, peer, less=less).ratio == (None if ratio is None else pytest.approx(ratio))


@pytest.mark.parametrize(
    ("ours", "peer", "target", "met"),
    [
        ([300.0], [100.0], AT_LEAST, True),
        ([299.0], [100.0], AT_LEAST, False),
        ([300.0], [], AT_LEAST, None),
        ([50.0], [1.0], AT_MOST, True),
        ([50.1], [1000.0], AT_MOST, False),
        ([50.0], [], AT_MOST, True),
        ([], [50.0], AT_MOST, None),
        ([300.0], [100.0], None, None),
    ],
)
def test_verdict(ours: list[float], peer: list[float], target: Target | None, met: bool | None) -> None:
    assert line(ours, peer, target=target).met is met


@pytest.mark.parametrize(("target", "words"), [(AT_LEAST, "≥ 3 x"), (AT_MOST, "≤ 50"), (Target("ours", 0.6), "≥ 0.6")])
def test_target_in_words(target: Target, words: str) -> None:
    assert str(target) == words


def test_json_has_rounds_medians_and_verdicts() -> None:
    kept = json.loads(json.dumps(as_json([line([1.0, 2.0, 9.0], [4.0], target=AT_LEAST)], {"cores": 2})))
    assert kept == {
        "about": {"cores": 2},
        "lines": [
            {
                "row": "B",
                "what": "bulk",
                "unit": "messages/s",
                "ours": [1.0, 2.0, 9.0],
                "peer": [4.0],
                "less_is_better": False,
                "target": {"of": "ratio", "bound": 3, "at_most": False},
                "our_median": 2.0,
                "peer_median": 4.0,
                "ratio": 0.5,
                "met": False,
            }
        ],
    }
