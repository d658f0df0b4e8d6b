"""Charts of a learning page: loss and rate over the steps, gains, matrices of languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from polymine.reporting.charts.drawing import (
    COLOURS,
    TIP,
    add_panel,
    new_figure,
    styled,
    to_svg,
)
from polymine.reporting.formatting import count_of, name_language
from polymine.reporting.learning.metrics import VERDICTS, write_gain
from polymine.reporting.learning.tables import Gain, SetResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LEFT, RIGHT = 560, 58, 14  # pixels
POINTS = 240  # drawn of a curve; more than a line of this width can show
SPAN = 20  # the smoothed line averages about a twentieth of the curve
CLIPPED = 0.995  # share of the losses that the axis reaches; a first outlier may lie above
ROW, SEED, NAME = 22, 7, 170  # pixels of a row of gains, of each part, of the name
LONGEST = 26  # characters of a name beside a row
KINDS = {"better": "promoted", "worse": "negative", "unclear": "excluded", None: "excluded"}
PANEL, LABELS, TOP, LEGEND = 362, 34, 40, 34  # pixels of a matrix and around its cells
LEAST, MOST, NARROWEST = 27, 62, 230  # pixels of a cell; of a panel, for its legend
STRONGEST = 0.6  # opacity of the darkest shade: the number on it must stay legible
QUIET = 0.01  # a largest gain below this is not coloured as if it were much


def draw_training(curve: pl.DataFrame) -> Markup:
    """Draw the loss of one step's training, raw and smoothed, above its learning rate.

    Args:
        curve: columns step, loss, rate of `TrainingCurve`, in the order of the steps; not empty.
    """
    window = max(3, curve.height // SPAN)
    smooth = pl.col("loss").rolling_mean(window, center=True, min_samples=1)
    shown = _thin(curve.with_columns(smooth=smooth))
    highest = curve["loss"].quantile(CLIPPED, "higher") or 0.0
    losses = shown.with_columns(pl.col("loss", "smooth").clip(upper_bound=highest))
    inner = WIDTH - LEFT - RIGHT
    with styled():
        figure = new_figure(WIDTH, 352)
        upper = add_panel(figure, LEFT, 24, inner, 190)
        lower = add_panel(figure, LEFT, 260, inner, 54)
        for axes, column, kind, width in (
            (upper, "loss", "excluded", 0.8),
            (upper, "smooth", "promoted", 2.0),
            (lower, "rate", "positive", 1.5),
        ):
            axes.plot(losses["step"], losses[column], color=COLOURS[kind], lw=width)
            axes.margins(x=0)
            axes.grid(axis="y")
            axes.xaxis.set_major_formatter("{x:,.0f}")
        peak = float(curve["rate"].max() or 1e-9)  # type: ignore[arg-type]
        lower.set(ylim=(0, peak * 1.25), yticks=[0, peak])
        lower.set_yticklabels(["0", f"{peak:g}"])
        lower.set_xlabel("optimizer step →", loc="right")
        for axes, name in ((upper, "loss"), (lower, "learning rate")):
            _above(axes, f"↑ {name}", -40)
        return to_svg(figure, "Loss and learning rate by step")


def draw_gains(rows: Sequence[tuple[Gain, Sequence[Gain]]], title: str) -> Markup:
    """Draw gains with their intervals, one row each, below them the gains they are made of.

    Args:
        rows: a gain and what it is the mean of, such as its seeds, drawn as hollow dots.
    """
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
        axes.annotate("as the base", (0, 1), (0, 6), xycoords=axes.get_xaxis_transform(),
                      textcoords="offset points", ha="center", color=COLOURS["soft"])  # fmt: skip
        axes.set(ylim=(height, 0), yticks=[row * at + ROW // 2 for at in range(len(rows))])
        axes.set_yticklabels([_cut(whole.name, LONGEST) for whole, _ in rows])
        axes.margins(x=0.06)
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter(
            lambda value, _: f"{value:+.3g}".replace("-", "−") if value else "0"
        )
        axes.set_xlabel("gain →", loc="right")
        return to_svg(figure, title)


def draw_panels(result: SetResult, pivot: str | None, *, tips: bool = True) -> list[Markup]:
    """Draw matrices of document language (rows) by query language: base, model and gain.

    The first two share one scale; that of the gain is centred on 0, blue above and orange below,
    and writes the sign too. Nothing is drawn of fewer than two languages.

    Args:
        pivot: the language that comes first and is outlined, if it was measured.
        tips: hovering a cell tells all of it; 12 by 12 languages take less than 30 kB without.
    """
    codes = sorted(result.languages, key=lambda code: (code != pivot, code))
    if len(codes) < 2:
        return []
    cells = {(d.document, d.query): d for d in result.directions}
    known = [v for d in cells.values() for v in (d.base, d.value) if v is not None]
    low, high = min(known), max(known)
    most = max([abs(d.gain or 0.0) for d in cells.values()] + [QUIET])
    ends = (f"{low * 100:.1f}", f"{high * 100:.1f}")
    with styled():
        return [
            _draw_matrix("base", codes, pivot, ends, _shade(cells, "base", low, high), tips),
            _draw_matrix(result.model, codes, pivot, ends, _shade(cells, "value", low, high), tips),
            _draw_matrix("gain", codes, pivot, (f"−{most * 100:.1f}", f"+{most * 100:.1f}"),
                         _shade(cells, "gain", 0.0, most), tips),
        ]  # fmt: skip


def panel_width(languages: int) -> int:
    """Pixels that a panel needs for its numbers to be legible."""
    return max(LABELS + _cell(languages) * languages + 2, NARROWEST)


Cell = tuple[Gain, str, float, str]  # what it is of, its colour, how strong, its number


def _shade(
    cells: dict[tuple[str, str], Gain], what: str, low: float, high: float
) -> Iterator[Cell]:
    """Choose the colour and write the number of each cell that was measured."""
    for direction in cells.values():
        value = getattr(direction, what)
        if value is None:
            continue
        if what == "gain":
            kind, strength = ("promoted" if value > 0 else "negative"), abs(value) / high
            yield direction, kind, strength, f"{value * 100:+.1f}".replace("-", "−")
        else:
            strength = 0.1 + 0.9 * (value - low) / ((high - low) or 1.0)
            yield direction, "positive", strength, f"{value * 100:.1f}"


def _draw_matrix(
    title: str,
    codes: Sequence[str],
    pivot: str | None,
    ends: tuple[str, str],
    cells: Iterator[Cell],
    tips: bool,
) -> Markup:
    cell, count, gain = _cell(len(codes)), len(codes), title == "gain"
    side, width = cell * count, panel_width(len(codes))
    figure = new_figure(width, TOP + side + LEGEND)
    axes = add_panel(figure, LABELS, TOP, side, side)
    size = min(13.0, cell * 0.33)
    for direction, kind, strength, number in cells:
        x, y = codes.index(direction.query), codes.index(direction.document)
        axes.barh(y, 1, 1, x - 0.5, color=COLOURS[kind], alpha=round(strength * STRONGEST, 2),
                  lw=0, gid=f"{TIP}{_tell(direction)}" if tips else None)  # fmt: skip
        sure = gain and direction.verdict in ("better", "worse")
        axes.text(x, y, number, size=size, ha="center", va="center_baseline",
                  weight="bold" if sure else "normal")  # fmt: skip
    if pivot in codes:
        box: Any = {"fill": False, "ec": COLOURS["soft"], "lw": 1}
        axes.barh(0, count, 1, -0.5, **box)
        axes.bar(0, count, 1, -0.5, **box)
    names = [_cut(code, 6) for code in codes]
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    axes.tick_params(labeltop=True, labelbottom=False, labelsize=min(12.0, cell * 0.42))
    axes.spines[:].set_visible(False)
    figure.text(
        LABELS / width, 1 - 13 / (TOP + side + LEGEND), _cut(title, 24), size=13, weight="bold"
    )
    figure.text(1 - 2 / width, 1 - 13 / (TOP + side + LEGEND), "documents ↓ queries →",
                ha="right", color=COLOURS["soft"])  # fmt: skip
    _draw_scale(add_panel(figure, LABELS + 38, TOP + side + 12, 91, 10), ends, gain=gain)
    return to_svg(figure, title)


def _draw_scale(axes: Axes, ends: tuple[str, str], *, gain: bool) -> None:
    """Draw the legend: thirteen shades with what the outermost two stand for."""
    for level in range(13):
        strength = abs(level - 6) / 6 if gain else (level + 1) / 13
        kind = ("promoted" if level > 6 else "negative") if gain else "positive"
        axes.bar(level, 1, 1, color=COLOURS[kind], alpha=round(strength * STRONGEST, 2), lw=0)
    axes.set(xlim=(-0.5, 12.5), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for x, offset, text in ((0, -6, ends[0]), (1, 6, ends[1])):
        axes.annotate(text, (x, 0), (offset, 1), xycoords="axes fraction", color=COLOURS["soft"],
                      textcoords="offset points", ha="left" if x else "right")  # fmt: skip


def _draw_gain(axes: Axes, gain: Gain, y: float, *, part: bool) -> None:
    if gain.gain is None:
        return
    colour = COLOURS[KINDS[gain.verdict]]
    if gain.low is not None and gain.high is not None:
        axes.plot((gain.low, gain.high), (y, y), color=colour, lw=1.0 if part else 2.4)
    tip = f"{TIP}{gain.name}: {write_gain(gain)}, {VERDICTS[gain.verdict]}"
    axes.plot([gain.gain], [y], "o", ms=4.8 if part else 9, mec=colour, gid=tip,
              mfc="none" if part else colour, mew=1 if part else 0)  # fmt: skip


def _above(axes: Axes, text: str, left: float) -> None:
    axes.annotate(text, (0, 1), (left, 6), xycoords="axes fraction", textcoords="offset points",
                  color=COLOURS["soft"])  # fmt: skip


def _tell(gain: Gain) -> str:
    return (
        f"documents in {name_language(gain.document)}, queries in "
        f"{name_language(gain.query)}: {write_gain(gain)}, {VERDICTS[gain.verdict]}, "
        f"{count_of(gain.queries, 'query', 'queries')}"
    )


def _thin(curve: pl.DataFrame) -> pl.DataFrame:
    """Average neighbouring points where there are more than can be seen."""
    every = -(-curve.height // POINTS)
    if every == 1:
        return curve
    grouped = curve.with_row_index("at").group_by(pl.col("at") // every, maintain_order=True)
    return grouped.agg(pl.col("step").last(), pl.col("loss", "smooth", "rate").mean())


def _cell(languages: int) -> int:
    return min(max((PANEL - LABELS) // languages, LEAST), MOST)


def _cut(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
