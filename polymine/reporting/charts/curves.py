"""Charts with two axes: the trade-off a budget is picked from, and how far risks are right."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from polymine.data_contracts.risk import Bin, Proof
from polymine.mining.budget import Point
from polymine.reporting.charts.charts import Label, templates
from polymine.reporting.formatting import format_rate, format_score

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 22, 40  # pixels around the field
PANEL, GAP = 200, 48  # a reliability panel's side, and the room beside it
LOWEST = 1e-3  # shares below it are drawn at the edge of a reliability panel
SPAN = 200  # the highest rate of the trade-off over the lowest that is drawn
FEWEST = 30  # candidates in a bin from which its true share says something
WITHIN = 1.5  # the factor that the band around the diagonal shows
DECADE = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `stop`; `log`: by their logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        """Pixel of a value; one outside lies on the edge."""
        value = min(max(value, self.low), self.high)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, most: int = 8) -> list[float]:
        """Round values within: 1, 2, 5 times a power of ten, or only the powers if too many."""
        if not self.log:
            raw = (self.high - self.low) / most
            power = 10.0 ** math.floor(math.log10(raw))
            step = next(power * factor for factor in (*DECADE, 10) if power * factor >= raw)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [round(index * step, 10) for index in range(first, last + 1)]
        powers = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
        for factors in (DECADE, (1.0,)):
            found = [10.0**power * factor for power in powers for factor in factors]
            inside = [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]
            if len(inside) <= most:
                break
        return inside


def draw_trade_off(curve: Sequence[Point], chosen: Point, budget: float) -> Markup:
    """Draw hardness over expected false negatives, with the budget and what was taken."""
    title = "Hardness against expected false negatives"
    x = _rates([point.expected for point in curve], (chosen.expected, budget))
    shown = [point for point in curve if point.expected >= x.low]
    y = _span([*(point.hardness for point in shown), chosen.hardness])
    label = f"taken: {format_rate(chosen.expected)}, {format_score(chosen.hardness)}"
    at = {"x": x.place(chosen.expected), "y": y.place(chosen.hardness)}
    marks: list[dict[str, Any]] = [
        {"x": x.place(p.expected), "y": y.place(p.hardness), "r": 2.4, "kind": "excluded",
         "hollow": False,
         "label": f"{format_rate(p.expected)} expected, hardness {format_score(p.hardness)}"}
        for p in shown
    ]  # fmt: skip
    late = at["x"] > WIDTH - 180  # a rising curve leaves room above to the left, below to the right
    low = at["y"] > y.start - 24  # no room below
    plot = {
        **lay_out(x, y),
        "title": "", "x_name": "expected false negatives", "y_name": "hardness",
        "lines": [trace([(mark["x"], mark["y"]) for mark in marks], "excluded")],
        "rules": [
            {"x": x.place(budget), "text": max(x.place(budget), LEFT + 70),
             "label": f"budget {format_rate(budget)}"}
        ],
        "dots": [*marks, {**at, "r": 5.5, "kind": "negative", "hollow": False, "label": label}],
        "texts": [
            {"x": at["x"] + (-9 if late else 9), "y": at["y"] + (-9 if late or low else 18),
             "anchor": "end" if late else "start", "kind": "negative", "label": label}
        ],
    }  # fmt: skip
    return draw({"width": WIDTH, "height": HEIGHT, "title": title}, [plot])


def draw_reliability(proofs: Sequence[Proof]) -> Markup:
    """Draw the true share of relevant candidates over the expected one, a panel per collection."""
    plots, across = [], min(len(proofs), 2)
    for at, proof in enumerate(proofs):
        left, top = LEFT + at % 2 * (PANEL + GAP), TOP + at // 2 * (PANEL + TOP + BOTTOM)
        x = Axis(LOWEST, 1.0, left, left + PANEL, log=True)
        y = Axis(LOWEST, 1.0, top + PANEL, top, log=True)
        dots = [_dot(x, y, found) for found in proof.bins]
        joined = [
            (dot["x"], dot["y"])
            for dot, found in zip(dots, proof.bins, strict=True)
            if found.count >= FEWEST and found.true > 0
        ]
        plots.append(
            {
                **lay_out(x, y, left=left, top=top),
                "title": proof.collection, "rules": [], "dots": dots,
                "texts": _sums(proof, x.stop - 6, y.start - 10),
                "x_name": "expected" if at + 2 >= len(proofs) else "",
                "y_name": "true" if at % 2 == 0 else "",
                "lines": [*_band(x, y), trace(joined, "negative")],
                **({"y_ticks": _unnamed(y)} if at % 2 else {}),
            }
        )  # fmt: skip
    rows = -(-len(proofs) // 2)
    size = {
        "width": LEFT + across * (PANEL + GAP), "height": rows * (PANEL + TOP + BOTTOM),
        "title": "True share of relevant candidates over the expected one",
    }  # fmt: skip
    return draw(size, plots)


def _dot(x: Axis, y: Axis, found: Bin) -> dict[str, Any]:
    few = found.count < FEWEST
    return {
        "x": x.place(found.expected), "y": y.place(found.true), "r": 3.2, "hollow": few,
        "kind": "excluded" if few else "negative",
        "label": f"expected {format_rate(found.expected)}, true {format_rate(found.true)} "
        f"of {found.count:,}",
    }  # fmt: skip


def _band(x: Axis, y: Axis) -> list[dict[str, Any]]:
    """The diagonal, and a line a factor above and below it."""
    ends = {
        factor: [(max(LOWEST, LOWEST / factor), factor), (min(1.0, 1 / factor), factor)]
        for factor in (1.0, WITHIN, 1 / WITHIN)
    }
    return [
        trace([(x.place(v), y.place(v * f)) for v, f in pair], "ink", dashed=factor != 1.0)
        for factor, pair in ends.items()
    ]


def trace(
    points: Sequence[tuple[float, float]], kind: str, *, dashed: bool = False, width: float = 1.0
) -> dict[str, Any]:
    """Join points, as (x, y) in pixels, by a line of a kind that has a colour."""
    path = "L".join(f"{x} {y}" for x, y in points)
    return {"path": path, "kind": kind, "dashed": dashed, "width": 0.7 if dashed else width}


def lay_out(
    x: Axis,
    y: Axis,
    left: float = LEFT,
    top: float = TOP,
    *,
    name_x: Label = format_rate,
    name_y: Label | None = None,
) -> dict[str, Any]:
    """Place the axes and their ticks; a `y` by logarithm is written as rates if not told how."""
    few = x.stop - x.start <= PANEL
    name_y = name_y or (format_rate if y.log else "{:g}".format)
    return {
        "left": left, "right": x.stop, "top": top, "base": y.start,
        "x_ticks": [{"at": x.place(v), "label": name_x(v)} for v in x.ticks(4 if few else 8)],
        "y_ticks": [{"at": y.place(v), "label": name_y(v)} for v in y.ticks(4 if few else 6)],
    }  # fmt: skip


def _sums(proof: Proof, x: float, y: float) -> list[dict[str, Any]]:
    """Relevant candidates per query, expected and true."""
    lines = (f"{proof.expected:.1f} expected,", f"{proof.true:.1f} true per query")
    return [
        {"x": x, "y": y - 14 * (1 - at), "anchor": "end", "kind": "ink", "label": line}
        for at, line in enumerate(lines)
    ]


def _unnamed(y: Axis) -> list[dict[str, Any]]:
    """Ticks of a panel whose neighbour names them."""
    return [{"at": y.place(value), "label": ""} for value in y.ticks(4)]


def _rates(curve: Sequence[float], shown: Sequence[float]) -> Axis:
    """An axis for rates: as much of the curve as can be told apart, and all of `shown`."""
    high = max(*curve, *shown)
    least = min((rate for rate in curve if rate > 0), default=high)
    low = min(max(high / SPAN, least), *(rate for rate in shown if rate > 0), high)
    high = max(high, low * 2)
    return Axis(low / 1.15, min(high * 1.15, 1.0), LEFT, WIDTH - RIGHT, log=True)


def _span(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, 1e-3)
    return Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)


def draw(size: Mapping[str, Any], plots: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw plots, each as `lay_out` begins it, into one image of `width`, `height` and `title`."""
    drawn: Markup = _macros().plots(size, plots)
    return drawn


@cache
def _macros() -> Any:
    return templates().get_template("charts/curves.svg.j2").module
