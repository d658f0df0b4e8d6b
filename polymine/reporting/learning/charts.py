"""Charts of a learning page: loss and rate over the steps, gains with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl
from markupsafe import Markup

from polymine.data_contracts.notes import Chosen
from polymine.reporting.charts.drawing import (
    COLOURS,
    add_panel,
    cut,
    dot,
    name_axes,
    new_figure,
    styled,
    to_svg,
    write,
)
from polymine.reporting.learning.metrics import VERDICTS, write_gain
from polymine.reporting.learning.tables import Gain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LEFT, RIGHT = 560, 58, 14  # pixels
LOOKED = 170  # further ones below, for looks at a development part
POINTS = 240  # drawn of a curve; more than a line of this width can show
SPAN = 20  # the smoothed line averages about a twentieth of the curve
CLIPPED = 0.995  # share of the losses that the axis reaches; a first outlier may lie above
ROW, SEED, NAME = 22, 7, 170  # pixels of a row of gains, of each part, of the name
LONGEST = 26  # characters of a name beside a row
KINDS = {"better": "promoted", "worse": "negative", "unclear": "excluded", None: "excluded"}


def draw_training(
    curve: pl.DataFrame, looks: pl.DataFrame | None = None, chosen: Chosen | None = None
) -> Markup:
    """Draw the loss of one step's training, raw and smoothed, above its learning rate.

    Args:
        curve: columns step, loss, rate of `TrainingCurve`, in the order of the steps; not empty.
        looks: DevelopmentCurve of this step, which is drawn below.
        chosen: what is marked on it; nothing is drawn of looks without it.
    """
    window = max(3, curve.height // SPAN)
    smooth = pl.col("loss").rolling_mean(window, center=True, min_samples=1)
    shown = _thin(curve.with_columns(smooth=smooth))
    highest = curve["loss"].quantile(CLIPPED, "higher") or 0.0
    losses = shown.with_columns(pl.col("loss", "smooth").clip(upper_bound=highest))
    inner = WIDTH - LEFT - RIGHT
    with styled():
        figure = new_figure(WIDTH, 352 if chosen is None else 352 + LOOKED)
        upper = add_panel(figure, LEFT, 24, inner, 190)
        lower = add_panel(figure, LEFT, 260, inner, 54)
        for axes, column, kind, width in (
            (upper, "loss", "excluded", 0.8),
            (upper, "smooth", "promoted", 2.0),
            (lower, "rate", "positive", 1.5),
        ):
            axes.plot(losses["step"], losses[column], color=COLOURS[kind], lw=width)
            axes.margins(x=0)
            axes.xaxis.set_major_formatter("{x:,.0f}")
        peak = float(curve["rate"].max() or 1e-9)  # type: ignore[arg-type]
        lower.set(ylim=(0, peak * 1.25), yticks=[0, peak])
        lower.set_yticklabels(["0", f"{peak:g}"])
        name_axes(upper, "", "loss")
        name_axes(lower, "optimizer step", "learning rate")
        if looks is not None and chosen is not None:
            axes = add_panel(figure, LEFT, 376, inner, LOOKED - 60)
            axes.set_xlim(0, max(1, int(curve["step"][-1])))
            _draw_looks(axes, looks.filter(language="*"), chosen)
        return to_svg(figure, "Loss and learning rate by step")


def draw_gains(rows: Sequence[tuple[Gain, Sequence[Gain]]], title: str) -> Markup:
    """Draw gains with intervals, a row each, below them as hollow dots what they are means of."""
    row = ROW + SEED * max((len(parts) for _, parts in rows), default=0)
    height = row * len(rows)
    with styled():
        figure = new_figure(WIDTH, 22 + height + 38)
        axes = add_panel(figure, NAME, 22, WIDTH - NAME - RIGHT, height)
        for at, (whole, parts) in enumerate(rows):
            for below, gain in enumerate((whole, *parts)):
                y = row * at + ROW // 2 + SEED * below + (3 if below else 0)
                _draw_gain(axes, gain, y, part=below > 0)
        axes.axvline(0, color=COLOURS["soft"], ls="--", lw=1)
        write(axes, (0, 1), "as the base", frame=axes.get_xaxis_transform())
        axes.set(ylim=(height, 0), yticks=[row * at + ROW // 2 for at in range(len(rows))])
        axes.set_yticklabels([cut(whole.name, LONGEST) for whole, _ in rows])
        axes.margins(x=0.06)
        name_axes(axes, "gain", "")
        axes.xaxis.set_major_formatter(
            lambda value, _: f"{value:+.3g}".replace("-", "−") if value else "0"
        )
        return to_svg(figure, title)


def _draw_looks(axes: Axes, looks: pl.DataFrame, chosen: Chosen) -> None:
    """Draw nDCG by step, the base as a line across it, and the chosen step as a dot."""
    steps = looks.filter(scale=1, averaged=1).sort("step")
    axes.plot(steps["step"], steps["ndcg"], color=COLOURS["positive"], lw=1.5, marker=".")
    axes.axhline(chosen.base, color=COLOURS["soft"], ls="--", lw=1)
    write(axes, (1, chosen.base), "base", (-14, 4), frame=axes.get_yaxis_transform())
    scale = "" if chosen.scale == 1 else f", at {chosen.scale:g} of its scale"
    mean = "" if chosen.averaged == 1 else f", mean of {chosen.averaged} looks"
    tip = f"chosen: step {chosen.step:,}{scale}{mean}, nDCG@10 {chosen.ndcg:.3f}"
    dot(axes, chosen.step, chosen.ndcg, "promoted", 9, tip)
    axes.margins(y=0.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:.3f}")
    name_axes(axes, "optimizer step", "nDCG@10 on the development part, the dot is chosen")


def _draw_gain(axes: Axes, gain: Gain, y: float, *, part: bool) -> None:
    if gain.gain is None:
        return
    kind = KINDS[gain.verdict]
    if gain.low is not None and gain.high is not None:
        ends = (gain.low, gain.high)
        axes.plot(ends, (y, y), color=COLOURS[kind], lw=1.0 if part else 2.4)
    tip = f"{gain.name}: {write_gain(gain)}, {VERDICTS[gain.verdict]}"
    dot(axes, gain.gain, y, kind, 4.8 if part else 9, tip, hollow=part)


def _thin(curve: pl.DataFrame) -> pl.DataFrame:
    """Average neighbouring points where there are more than can be seen."""
    every = -(-curve.height // POINTS)
    if every == 1:
        return curve
    grouped = curve.with_row_index("at").group_by(pl.col("at") // every, maintain_order=True)
    return grouped.agg(pl.col("step").last(), pl.col("loss", "smooth", "rate").mean())
