"""Small SVG charts: geometry here, drawing in `charts.svg.j2`.

A plotting library would be the usual choice. It is not taken here because its import alone takes
longer (about 0.8 s) than computing and rendering the whole report, which is part of every run that
only changes a threshold, and because its SVG is ten times the size of these few rectangles, which
also take their colours from the page, light or dark.
"""

import base64
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from polymine.reporting import formatting as words
from polymine.reporting.charts.histograms import Grid, Group, Histogram

WIDTH, SIDE = 380, 14
ROW, TALL = 62, 40  # pixels of a histogram with its label, and of its highest bar
AXIS = 22
COLUMNS = 96
Label = Callable[[float], str]  # how a value of an axis is written


@cache
def templates() -> Environment:
    """Open the templates of this package; what they are given is text unless marked as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "count": words.format_count,
        "share": words.format_share,
        "rate": words.format_rate,
        "score": words.format_score,
        "gain": words.format_gain,
        "seconds": words.format_seconds,
        "language": words.name_language,
    }
    return environment


def markdown() -> Environment:
    """Open the templates of Markdown, which is no markup: the page's escaping would show in it."""
    return templates().overlay(autoescape=False)


@cache
def _macros() -> Any:
    return templates().get_template("charts/charts.svg.j2").module


def draw_histogram(
    histogram: Histogram,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    label: Label | None = None,
) -> Markup:
    """Draw groups one below the other over one axis, each scaled to its own highest bar.

    Args:
        marks: (value, label) of dashed lines across all groups.
        label: writes the values, where they are not to be shown as they are.
    """
    grid = histogram.grid
    base = ROW * len(histogram.groups)
    chart = {
        "width": WIDTH, "height": base + AXIS, "left": SIDE, "right": WIDTH - SIDE,
        "base": base, "tall": TALL, "title": title,
        "rows": [_row(group, grid, at, label) for at, group in enumerate(histogram.groups)],
        "ticks": [
            {"x": _x(value, grid), "label": label(value) if label else f"{value:g}"}
            for value in _ticks(grid, whole=label is not None)
        ],
        "marks": [
            {"x": _x(value, grid), "label": label}
            for value, label in marks
            if grid.start <= value <= grid.stop
        ],
    }  # fmt: skip
    drawn: Markup = _macros().ridges(chart)
    return drawn


def draw_columns(columns: Sequence[tuple[str, int]], title: str, kind: str) -> Markup:
    """Draw one column per label, its count above it."""
    room = (WIDTH - 2 * SIDE) / max(len(columns), 1)
    highest = max((count for _, count in columns), default=0) or 1
    base = COLUMNS + 18
    bars = []
    for at, (label, count) in enumerate(columns):
        height = round(COLUMNS * count / highest, 1)
        left = SIDE + at * room
        bars.append(
            {
                "x": round(left + 2, 1), "y": round(base - height, 1), "width": round(room - 4, 1),
                "height": height, "centre": round(left + room / 2, 1), "label": label,
                "value": _short(count),
            }
        )  # fmt: skip
    chart = {
        "width": WIDTH, "height": base + AXIS, "left": SIDE, "right": WIDTH - SIDE,
        "base": base, "title": title, "kind": kind, "bars": bars,
    }  # fmt: skip
    drawn: Markup = _macros().columns(chart)
    return drawn


def as_image(svg: Markup) -> str:
    """Turn a chart into a `data:` address, for places that take images only."""
    return "data:image/svg+xml;base64," + base64.b64encode(str(svg).encode()).decode()


def _row(group: Group, grid: Grid, at: int, label: Label | None) -> dict[str, Any]:
    base, highest = ROW * at + 16 + TALL, max(group.counts) or 1
    edge = label or "{:.4g}".format
    width = (WIDTH - 2 * SIDE) / grid.bins
    bars = [
        {
            "x": round(SIDE + index * width, 1),
            "y": round(base - TALL * count / highest, 1),
            "width": round(max(width - 0.8, 0.5), 1),
            "height": round(TALL * count / highest, 1),
            "label": f"{edge(grid.edge(index))} to {edge(grid.edge(index + 1))}: {count:,}",
        }
        for index, count in enumerate(group.counts)
        if count
    ]
    about = f"{group.total:,}"
    if group.median is not None:
        about += f" · median {(label or words.format_score)(group.median)}"
    return {
        "top": ROW * at, "base": base, "kind": group.kind, "label": group.label,
        "about": about, "bars": bars,
        "median": None if group.median is None else _x(group.median, grid),
    }  # fmt: skip


def _x(value: float, grid: Grid) -> float:
    share = (value - grid.start) / (grid.stop - grid.start)
    return round(SIDE + share * (WIDTH - 2 * SIDE), 1)


def _ticks(grid: Grid, *, whole: bool = False) -> list[float]:
    """Choose round numbers for the axis, every few bins; `whole`: whole ones, if there are two."""
    every = max(1, math.ceil(grid.bins / 6))
    spacing = grid.step * every
    power = 10.0 ** math.floor(math.log10(spacing))
    spacing = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= spacing)
    if whole and math.floor(grid.stop) - math.ceil(grid.start) > 0:
        spacing = max(spacing, 1.0)
    first = math.ceil(grid.start / spacing - 1e-9)
    last = math.floor(grid.stop / spacing + 1e-9)
    return [round(index * spacing, 10) for index in range(first, last + 1)]


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"
