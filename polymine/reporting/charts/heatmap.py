"""Heat maps of languages by languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from polymine.reporting.charts.drawing import (
    COLOURS,
    TIP,
    add_panel,
    cut,
    new_figure,
    styled,
    to_svg,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL, LABELS, TOP, LEGEND = 362, 34, 40, 34  # pixels of a matrix and around its cells
LEAST, MOST, NARROWEST = 27, 62, 230  # pixels of a cell; of a panel, for its legend
STRONGEST = 0.6  # opacity of the darkest shade: the number on it must stay legible


@dataclass(frozen=True)
class Place:
    """Where a cell stands, by its languages, and what hovering tells of it."""

    row: str
    column: str
    tip: str


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map: its colour's key, how strong that is (0 to 1), and its number."""

    place: Place
    kind: str
    strength: float
    number: str
    bold: bool = False


def panel_width(languages: int) -> int:
    """Pixels that a panel needs for its numbers to be legible."""
    return max(LABELS + _cell(languages) * languages + 2, NARROWEST)


def shade_value(
    place: Place, value: float, between: tuple[float, float], *, up: bool = True
) -> Cell:
    """Shade a score, shown times 100.

    Args:
        place: of the cell.
        value: the score.
        between: lowest and highest value of all that share the scale.
        up: whether the highest is the darkest.
    """
    share = (value - between[0]) / ((between[1] - between[0]) or 1.0)
    strength = 0.1 + 0.9 * (share if up else 1 - share)
    return Cell(place, "positive", strength, _number(f"{value * 100:.1f}"))


def shade_change(place: Place, value: float, most: float, *, bold: bool) -> Cell:
    """Shade a difference, shown times 100 with its sign: blue above 0, orange below."""
    kind, number = "promoted" if value > 0 else "negative", _number(f"{value * 100:+.1f}")
    return Cell(place, kind, abs(value) / most, number, bold)


def _number(text: str) -> str:
    return text.replace("-", "−")


def draw_heatmap(
    title: str,
    codes: Sequence[str],
    ends: tuple[str, str],
    cells: Sequence[Cell],
    *,
    pivot: str | None = None,
    corner: str,
    gain: bool = False,
    tips: bool = True,
) -> Markup:
    """Draw a matrix of languages.

    Args:
        title: above it.
        codes: languages of rows and columns, in order.
        ends: what the palest and the darkest shade stand for.
        cells: those that are known.
        pivot: a language that is outlined, if it is there.
        corner: says what rows and columns are.
        gain: whether the scale has two sides.
        tips: whether hovering a cell tells all of it.
    """
    with styled():
        cell, count = _cell(len(codes)), len(codes)
        side, width = cell * count, panel_width(len(codes))
        figure = new_figure(width, TOP + side + LEGEND)
        axes = add_panel(figure, LABELS, TOP, side, side)
        _draw_cells(axes, codes, cells, min(13.0, cell * 0.33), tips)
        if pivot in codes:
            box: Any = {"fill": False, "ec": COLOURS["soft"], "lw": 1}
            place = codes.index(str(pivot))
            axes.barh(place, count, 1, -0.5, **box)
            axes.bar(place, count, 1, -0.5, **box)
        names = [cut(code, 6) for code in codes]
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
        axes.set_xticks(range(count), names)
        axes.set_yticks(range(count), names)
        axes.tick_params(labeltop=True, labelbottom=False, labelsize=min(12.0, cell * 0.42))
        axes.spines[:].set_visible(False)
        high = 1 - 13 / (TOP + side + LEGEND)
        figure.text(LABELS / width, high, cut(title, 24), size=13, weight="bold")
        figure.text(1 - 2 / width, high, corner, ha="right", color=COLOURS["soft"])
        _draw_scale(add_panel(figure, LABELS + 38, TOP + side + 12, 91, 10), ends, gain=gain)
        return to_svg(figure, title)


def _draw_cells(
    axes: Axes, codes: Sequence[str], cells: Sequence[Cell], size: float, tips: bool
) -> None:
    for cell in cells:
        x, y = codes.index(cell.place.column), codes.index(cell.place.row)
        axes.barh(y, 1, 1, x - 0.5, color=COLOURS[cell.kind],
                  alpha=round(cell.strength * STRONGEST, 2), lw=0,
                  gid=f"{TIP}{cell.place.tip}" if tips else None)  # fmt: skip
        axes.text(x, y, cell.number, size=size, ha="center", va="center_baseline",
                  weight="bold" if cell.bold else "normal")  # fmt: skip


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


def _cell(languages: int) -> int:
    return min(max((PANEL - LABELS) // languages, LEAST), MOST)
