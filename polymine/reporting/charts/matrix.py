"""Matrices of document language by query language, as heat maps: base, trained, gain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from polymine.reporting.charts.drawing import (
    COLOURS,
    TIP,
    add_panel,
    new_figure,
    styled,
    to_svg,
    write,
)
from polymine.reporting.charts.learning import cut
from polymine.reporting.formatting import count_of, name_language
from polymine.reporting.learning.metrics import VERDICTS, write_gain
from polymine.reporting.learning.tables import Gain, SetResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL, LABELS, TOP, LEGEND = 362, 34, 40, 34  # pixels of a matrix and around its cells
LEAST, MOST, NARROWEST = 27, 62, 230  # pixels of a cell; of a panel, for its legend
STRONGEST = 0.6  # opacity of the darkest shade: the number on it must stay legible
QUIET = 0.01  # a largest gain below this is not coloured as if it were much


def draw_panels(result: SetResult, pivot: str | None, *, tips: bool = True) -> list[Markup]:
    """Draw matrices of document language (rows) by query language: base, model and gain.

    The first two share one scale; that of the gain is centred on 0, blue above and orange below,
    and writes the sign too.

    Args:
        result: scores in [0, 1], shown times 100.
        pivot: the language that comes first and is outlined, if it was measured.
        tips: hovering a cell tells all of it; 12 by 12 languages take less than 30 kB without.

    Returns:
        Three charts, or that of the base alone; none where there are fewer than two languages.
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
        if all(d.gain is None for d in cells.values()):  # the base alone
            shade = _shade(cells, "value", low, high)
            return [_draw_matrix(result.model, codes, pivot, ends, shade, tips)]
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
    names = [cut(code, 6) for code in codes]
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    axes.tick_params(labeltop=True, labelbottom=False, labelsize=min(12.0, cell * 0.42))
    axes.spines[:].set_visible(False)
    figure.text(
        LABELS / width, 1 - 13 / (TOP + side + LEGEND), cut(title, 24), size=13, weight="bold"
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
    write(axes, (0, 0), ends[0], (-6, 1), frame="axes fraction", ha="right")
    write(axes, (1, 0), ends[1], (6, 1), frame="axes fraction", ha="left")


def _tell(gain: Gain) -> str:
    return (
        f"documents in {name_language(gain.document)}, queries in "
        f"{name_language(gain.query)}: {write_gain(gain)}, {VERDICTS[gain.verdict]}, "
        f"{count_of(gain.queries, 'query', 'queries')}"
    )


def _cell(languages: int) -> int:
    return min(max((PANEL - LABELS) // languages, LEAST), MOST)
