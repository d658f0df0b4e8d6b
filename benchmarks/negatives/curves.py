"""Picture of `benchmarks.negatives.false_negatives`: a panel per collection, a line per method."""

import math
from pathlib import Path
from typing import Any

from benchmarks.negatives.trade_off import Point, full_yield

COLUMNS = 4
# Okabe and Ito's colours, which the colour-blind tell apart; black is what is looked at.
COLOURS = (
    "#999999", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#000000",
    "#F0E442",
)  # fmt: skip


def draw(results: dict[str, Any], path: Path) -> Path:
    """Draw false negatives against hardness, mean of seeds: lower and further right is better.

    Lines join the values with full yield; hollow marks found too few negatives. The dotted line is
    the reference's hardness.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    collections = results["collections"]
    columns = min(COLUMNS, len(collections))
    rows = math.ceil(len(collections) / columns)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(max(4.2 * columns, 8), 3.5 * rows + 0.8),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(collections) :]:
        axis.set_axis_off()
    for axis, (name, found) in zip(axes.flat, collections.items(), strict=False):
        _panel(axis, name, found)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4 if columns < 3 else 9)
    figure.supxlabel("hardness: mean cosine of the negatives (hollow: fewer than 95 % found)")
    figure.supylabel("share of false negatives")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _panel(axis: Any, name: str, found: dict[str, Any]) -> None:
    if len(found["curves"]) > len(COLOURS):
        raise ValueError(f"{len(found['curves'])} methods and {len(COLOURS)} colours: add some")
    for colour, (method, points) in zip(COLOURS, found["curves"].items(), strict=False):
        full = sorted(full_yield(points), key=lambda point: point["hardness"] or 0.0)
        size = 3 if len(points) > 1 else 8  # a method without a value is a single point
        axis.plot(*_places(full), color=colour, marker="o", ms=size, lw=1.4, label=method)
        short = [point for point in points if point not in full and "hardness" in point]
        axis.plot(*_places(short), color=colour, marker="o", mfc="none", ms=3, lw=0, alpha=0.4)
    reference = found["reference"]["mean"]
    axis.axvline(reference["hardness"], color="#bbbbbb", linestyle=":", zorder=0)
    axis.set_title(f"{name} ({found['queries']} queries)", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.25)


def _places(points: list[Point]) -> tuple[list[float | None], list[float | None]]:
    return (
        [point["hardness"] for point in points],
        [point["false_negatives"] for point in points],
    )
