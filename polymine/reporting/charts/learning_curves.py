"""Charts of a learning page: loss and learning rate over the steps, gains with their intervals."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from markupsafe import Markup

from polymine.reporting.charts.curves import Axis, draw, lay_out, trace
from polymine.reporting.learning.tables import Gain
from polymine.reporting.learning.words import VERDICTS, write_gain

WIDTH, LEFT, RIGHT = 560, 58, 14  # pixels
LOSS, RATE, TOP, BOTTOM, BETWEEN = 190, 54, 24, 38, 46
POINTS = 240  # drawn of a curve; more than a line of this width can show
SPAN = 20  # the smoothed line averages about a twentieth of the curve
CLIPPED = 0.995  # share of the losses that the axis reaches; a first outlier may lie above
ROW, SEED, NAME = 22, 7, 170  # pixels of a row of gains, of each part, of the name
TICK = 22
LONGEST = 26  # characters of a name beside a row
KINDS = {"better": "promoted", "worse": "negative", "unclear": "excluded", None: "excluded"}


def draw_training(curve: pl.DataFrame) -> Markup:
    """Draw the loss of one step's training, raw and smoothed, above its learning rate.

    Args:
        curve: columns step, loss, rate of `TrainingCurve`, in the order of the steps; not empty.
    """
    window = max(3, curve.height // SPAN)
    smooth = pl.col("loss").rolling_mean(window, center=True, min_samples=1)
    shown = _thin(curve.with_columns(smooth=smooth))
    steps = shown["step"].to_list()
    x = Axis(min(steps[0], 1), max(steps[-1], steps[0] + 1), LEFT, WIDTH - RIGHT)
    losses = curve["loss"]
    high, low = losses.quantile(CLIPPED, "higher"), losses.min()
    loss = _up(float(low), float(high), TOP + LOSS, TOP)  # type: ignore[arg-type]
    under = TOP + LOSS + BETWEEN
    peak = float(curve["rate"].max() or 1e-9)  # type: ignore[arg-type]
    rate = Axis(0.0, peak * 1.25, under + RATE, under)  # room for the name above the peak

    def line(column: str, y: Axis, kind: str, width: float) -> dict[str, Any]:
        values = shown[column].to_list()
        spots = [(x.place(s), y.place(v)) for s, v in zip(steps, values, strict=True)]
        return trace(spots, kind, width=width)

    rest = {"title": "", "rules": [], "dots": [], "texts": [], "x_name": ""}
    upper = {
        **lay_out(x, loss, LEFT, TOP, name_x="{:,.0f}".format), **rest, "y_name": "loss",
        "lines": [line("loss", loss, "excluded", 0.8), line("smooth", loss, "promoted", 2.0)],
    }  # fmt: skip
    lower = {
        **lay_out(x, rate, LEFT, under, name_x="{:,.0f}".format), **rest,
        "y_ticks": [{"at": rate.place(v), "label": f"{v:g}"} for v in (0.0, peak)],
        "x_name": "optimizer step", "y_name": "learning rate",
        "lines": [line("rate", rate, "positive", 1.5)],
    }  # fmt: skip
    size = {
        "width": WIDTH, "height": under + RATE + BOTTOM, "title": "Loss and learning rate by step"
    }  # fmt: skip
    return draw(size, [upper, lower])


def draw_gains(rows: Sequence[tuple[Gain, Sequence[Gain]]], title: str) -> Markup:
    """Draw gains with their intervals, one row each, below them the gains they are made of.

    Args:
        rows: a gain and what it is the mean of, such as its seeds, drawn as hollow dots.
    """
    known = [gain for whole, parts in rows for gain in (whole, *parts)]
    ends = [v for gain in known for v in (gain.gain, gain.low, gain.high) if v is not None]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    room = max((high - low) * 0.06, 1e-3)
    x = Axis(low - room, high + room, NAME, WIDTH - RIGHT)
    row = ROW + SEED * max((len(parts) for _, parts in rows), default=0)
    height = TICK + row * len(rows)
    y = Axis(0, 1, height, TICK)
    lines, dots = [], []
    for at, (whole, parts) in enumerate(rows):
        for below, gain in enumerate((whole, *parts)):
            level = TICK + row * at + ROW // 2 + SEED * below + (3 if below else 0)
            lines += _interval(x, gain, level, 1.0 if below else 2.4)
            dots += _dot(x, gain, level, hollow=below > 0)
    plot = {
        **lay_out(x, y, NAME, TICK, name_x=_signed), "title": "", "lines": lines, "dots": dots,
        "y_ticks": [
            {"at": TICK + row * at + ROW // 2, "label": _cut(whole.name)}
            for at, (whole, _) in enumerate(rows)
        ],
        "rules": [{"x": x.place(0.0), "text": x.place(0.0), "label": "as the base"}],
        "texts": [], "x_name": "gain", "y_name": "",
    }  # fmt: skip
    return draw({"width": WIDTH, "height": height + BOTTOM, "title": title}, [plot])


def _interval(x: Axis, gain: Gain, y: float, width: float) -> list[dict[str, Any]]:
    if gain.low is None or gain.high is None:
        return []
    ends = [(x.place(gain.low), y), (x.place(gain.high), y)]
    return [trace(ends, KINDS[gain.verdict], width=width)]


def _dot(x: Axis, gain: Gain, y: float, *, hollow: bool) -> list[dict[str, Any]]:
    if gain.gain is None:
        return []
    label = f"{gain.name}: {write_gain(gain)}, {VERDICTS[gain.verdict]}"
    return [
        {"x": x.place(gain.gain), "y": y, "r": 2.4 if hollow else 4.5, "hollow": hollow,
         "kind": KINDS[gain.verdict], "label": label}
    ]  # fmt: skip


def _thin(curve: pl.DataFrame) -> pl.DataFrame:
    """Average neighbouring points where there are more than can be seen."""
    every = -(-curve.height // POINTS)
    if every == 1:
        return curve
    means = pl.col("loss", "smooth", "rate").mean()
    return (
        curve.with_row_index("at")
        .group_by(pl.col("at") // every, maintain_order=True)
        .agg(pl.col("step").last(), means)
    )


def _up(low: float, high: float, start: float, stop: float) -> Axis:
    room = max((high - low) * 0.06, abs(high) * 1e-3, 1e-9)
    return Axis(low - room if low else 0.0, high + room, start, stop)


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
