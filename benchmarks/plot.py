"""The figures of a run as a picture: how many times better than the peer we are, on a logarithmic axis, as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.figures import Line
from benchmarks.table import figure

_BETTER, _WORSE, _TARGET = "#2a7f62", "#b5483a", "#222222"


def draw(lines: Sequence[Line], caption: str, folder: Path) -> None:
    """Write ratios.png and ratios.svg into `folder`."""
    compared = [line for line in lines if line.ratio is not None]
    ratios = [line.ratio or 0.0 for line in compared]
    places = range(len(compared))
    picture = Figure(figsize=(10.5, 0.34 * len(compared) + 1.6), layout="constrained")
    axes = picture.add_subplot()
    # A bar begins at 1, where both are the same
    axes.barh(places, [ratio - 1 for ratio in ratios], left=1, color=[_BETTER if ratio >= 1 else _WORSE for ratio in ratios])
    for place, line, ratio in zip(places, compared, ratios, strict=True):
        told = f"{figure(ratio)} x   ({figure(line.our_median)} : {figure(line.peer_median)}{' ' * bool(line.unit)}{line.unit})"
        bound = line.target.bound if line.target and line.target.of == "ratio" else 1
        axes.annotate(told, (max(ratio, bound, 1), place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
        if bound != 1:
            axes.plot([bound] * 2, [place - 0.45, place + 0.45], color=_TARGET, linewidth=2)
    axes.set_yticks(places, [f"{line.row}  {line.what}" for line in compared], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color=_TARGET, linewidth=0.8)
    axes.set_xlim(min([0.5, *ratios]) * 0.8, max([10.0, *ratios]) * 12)  # room for the words
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} x")
    axes.set_xlabel("times as good as Postfix with Dovecot (mark: the target)")
    picture.suptitle(caption, fontsize=8, x=0.01, ha="left")
    axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ratios"}):
        picture.savefig(folder / "ratios.png", dpi=110)
        picture.savefig(folder / "ratios.svg", metadata={"Date": None})
