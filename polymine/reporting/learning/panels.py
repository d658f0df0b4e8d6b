"""Matrices of document language by query language, as heat maps: base, trained, gain."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from polymine.reporting.charts.heatmap import (
    Cell,
    Place,
    draw_heatmap,
    shade_change,
    shade_value,
)
from polymine.reporting.formatting import count_of, name_language
from polymine.reporting.learning.metrics import VERDICTS, write_gain
from polymine.reporting.learning.tables import Gain, SetResult

CORNER = "documents ↓ queries →"  # a model's name needs the room beside it
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
    found = result.directions
    known = [v for d in found for v in (d.base, d.value) if v is not None]
    low, high = min(known), max(known)
    most = max([abs(d.gain or 0.0) for d in found] + [QUIET])
    ends, gains = (f"{low * 100:.1f}", f"{high * 100:.1f}"), f"{most * 100:.1f}"
    panels = {
        "base": (ends, _shade(found, "base", low, high)),
        result.model: (ends, _shade(found, "value", low, high)),
        "gain": ((f"−{gains}", f"+{gains}"), _shade(found, "gain", 0.0, most)),
    }
    if all(each.gain is None for each in found):  # the base alone
        panels = {result.model: panels[result.model]}
    return [
        draw_heatmap(title, codes, around, list(cells), pivot=pivot, gain=title == "gain",
                     corner=CORNER if title in ("base", "gain") else "", tips=tips)
        for title, (around, cells) in panels.items()
    ]  # fmt: skip


def _shade(directions: Sequence[Gain], what: str, low: float, high: float) -> Iterator[Cell]:
    """Choose the colour and write the number of each cell that was measured."""
    for each in directions:
        value = getattr(each, what)
        if value is None:
            continue
        place = Place(each.document, each.query, _tell(each))
        if what == "gain":
            yield shade_change(place, value, high, bold=each.verdict in ("better", "worse"))
        else:
            yield shade_value(place, value, (low, high))


def _tell(gain: Gain) -> str:
    return (
        f"documents in {name_language(gain.document)}, queries in "
        f"{name_language(gain.query)}: {write_gain(gain)}, "
        f"{'' if gain.gain is None else VERDICTS[gain.verdict] + ', '}"
        f"{count_of(gain.queries, 'query', 'queries')}"
    )
