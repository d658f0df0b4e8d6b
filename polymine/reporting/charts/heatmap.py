"""The matrix of document language by query language as heat maps: base, trained, gain.

Rows are the documents' languages, columns the queries'. The first two panels share one scale; that
of the gain is centred on 0, blue above and orange below, and writes the sign too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl
from markupsafe import Markup

from polymine.reporting.charts.charts import templates
from polymine.reporting.formatting import count_of
from polymine.reporting.learning.tables import Direction, SetResult, pick_result
from polymine.reporting.learning.words import VERDICTS, name_direction, write_gain

SIDE = 362  # pixels of a panel, unless its cells would become too small
LABELS, TOP, LEGEND, GAP = 34, 40, 34, 26
LEAST, MOST = 27, 62  # pixels of a cell
LEVELS = 12  # shades of a colour; few, so that cells of one shade are one path
STRONGEST = 0.6  # opacity of the darkest shade: the number on it must stay legible
QUIET = 0.01  # a largest gain below this is not coloured as if it were much
NARROWEST = 230  # pixels of a panel, for its legend
LONGEST = 6  # characters of a label
Values = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Matrix:
    """The directions of a set with a model's numbers; `languages` are rows and columns alike."""

    languages: tuple[str, ...]
    directions: tuple[Direction, ...]
    model: str
    pivot: str | None = None


def make_matrix(result: SetResult, pivot: str | None = None) -> Matrix | None:
    """Take the directions of a result, the pivot first; None with fewer than two languages."""
    languages = tuple(sorted(result.languages, key=lambda code: (code != pivot, code)))
    if len(languages) < 2:
        return None
    return Matrix(languages, result.directions, result.model, pivot)


def draw_matrix(
    comparisons: pl.DataFrame, name: str, model: str, metric: str, pivot: str | None = None
) -> Markup:
    """Draw the three panels into one small image, for places where it stands alone.

    Cells have no tooltips there: 12 by 12 languages take less than 40 kB. Raises ValueError where
    the set has fewer than two languages, which are no matrix.
    """
    chosen = comparisons.filter(metric=metric)
    matrix = make_matrix(pick_result(chosen, name, model), pivot)
    if matrix is None:
        raise ValueError(f"set {name!r} has no directions of {model!r} by {metric!r} to draw")
    panels = _panels(matrix, hover=False)
    step = panels[0]["width"] + GAP
    title = f"{name}: {metric} by language of documents and queries, base, {model} and gain"
    for at, panel in enumerate(panels):
        panel["left"] = at * step
    size = {"width": 3 * step - GAP, "height": panels[0]["height"], "title": title}
    drawn: Markup = _macros().panels(size, panels, True)
    return drawn


def draw_panels(matrix: Matrix) -> list[Markup]:
    """Draw a panel each for the base, the model and the gain; hovering a cell tells all of it."""
    drawn = []
    for panel in _panels(matrix, hover=True):
        size = {name: panel[name] for name in ("width", "height", "title")}
        drawn.append(_macros().panels(size, [panel], False))
    return drawn


def panel_width(matrix: Matrix) -> int:
    """Pixels that a panel needs for its numbers to be legible."""
    return max(LABELS + _cell(matrix) * len(matrix.languages) + 2, NARROWEST)


def _cell(matrix: Matrix) -> int:
    return min(max((SIDE - LABELS) // len(matrix.languages), LEAST), MOST)


def _panels(matrix: Matrix, *, hover: bool) -> list[dict[str, Any]]:
    cells = {(d.document, d.query): d.gain for d in matrix.directions}
    base = {at: gain.base for at, gain in cells.items() if gain.base is not None}
    value = {at: gain.value for at, gain in cells.items()}
    gains = {at: gain.gain for at, gain in cells.items() if gain.gain is not None}
    low, high = min((*base.values(), *value.values())), max((*base.values(), *value.values()))
    most = max([abs(gain) for gain in gains.values()] + [QUIET])
    sure = {at for at, gain in cells.items() if gain.verdict in ("better", "worse")}
    labels = {(d.document, d.query): _tell(d) for d in matrix.directions} if hover else {}
    scale = [f"{low * 100:.1f}", f"{high * 100:.1f}"]
    ends = [f"−{most * 100:.1f}", "0", f"+{most * 100:.1f}"]
    level = (high - low) or 1.0
    shades = [
        {at: ("value", 1 + (v - low) / level * (LEVELS - 1)) for at, v in base.items()},
        {at: ("value", 1 + (v - low) / level * (LEVELS - 1)) for at, v in value.items()},
        {at: ("up" if v > 0 else "down", abs(v) / most * LEVELS) for at, v in gains.items()},
    ]
    texts = [
        {at: f"{v * 100:.1f}" for at, v in base.items()},
        {at: f"{v * 100:.1f}" for at, v in value.items()},
        {at: f"{v * 100:+.1f}".replace("-", "−") for at, v in gains.items()},
    ]
    titles = ("base", matrix.model, "gain")
    bold: tuple[set[tuple[str, str]], ...] = (set(), set(), sure)
    return [
        _panel(matrix, title, shade, text, marked, labels, ends if title == "gain" else scale)
        for title, shade, text, marked in zip(titles, shades, texts, bold, strict=True)
    ]


def _panel(
    matrix: Matrix,
    title: str,
    shades: dict[tuple[str, str], tuple[str, float]],
    texts: dict[tuple[str, str], str],
    bold: set[tuple[str, str]],
    labels: dict[tuple[str, str], str],
    scale: Sequence[str],
) -> dict[str, Any]:
    """Place a panel: cells of one shade are gathered into one path, numbers into rows."""
    codes = matrix.languages
    cell = _cell(matrix)
    side = cell * len(codes)
    spot = {
        (row, column): (LABELS + at * cell, TOP + line * cell)
        for line, row in enumerate(codes)
        for at, column in enumerate(codes)
    }
    paths: dict[tuple[str, int], list[str]] = {}
    for where, (kind, strength) in shades.items():
        x, y = spot[where]
        paths.setdefault((kind, round(strength)), []).append(f"M{x} {y}h{cell}v{cell}h-{cell}z")
    return {
        "title": title, "left": 0, "top": TOP, "start": LABELS, "cell": cell, "side": side,
        "width": panel_width(matrix), "height": TOP + side + LEGEND,
        "font": round(min(13.0, cell * 0.33), 1), "label_font": round(min(12.0, cell * 0.42), 1),
        "fills": [
            {"kind": kind, "path": "".join(found), "opacity": round(level / LEVELS * STRONGEST, 2)}
            for (kind, level), found in sorted(paths.items())
        ],
        "heads": [
            {"at": at * cell + cell / 2, "label": _cut(code), "pivot": code == matrix.pivot}
            for at, code in enumerate(codes)
        ],
        "lines": [
            [{"x": spot[row, column][0] + cell / 2, "text": texts.get((row, column), "·"),
              "bold": (row, column) in bold} for column in codes]
            for row in codes
        ],
        "hover": [{"x": spot[at][0], "y": spot[at][1], "label": label}
                  for at, label in labels.items()],
        "pivot": codes.index(matrix.pivot) * cell if matrix.pivot in codes else None,
        "scale": scale, "signed": len(scale) == 3,
    }  # fmt: skip


def _tell(direction: Direction) -> str:
    gain = direction.gain
    return (
        f"{name_direction(direction.document, direction.query)}: {write_gain(gain)}, "
        f"{VERDICTS[gain.verdict]}, {count_of(gain.queries, 'query', 'queries')}"
    )


def _cut(code: str) -> str:
    return code if len(code) <= LONGEST else code[: LONGEST - 1] + "…"


@cache
def _macros() -> Any:
    return templates().get_template("charts/heatmap.svg.j2").module
