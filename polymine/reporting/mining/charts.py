"""Charts of a mining report: histograms, counts, the trade-off and the reliability of the risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from polymine.data_contracts.notes import Point
from polymine.data_contracts.risk import Bin, Proof
from polymine.reporting.charts.drawing import (
    COLOURS,
    TIP,
    add_panel,
    dot,
    name_axes,
    new_figure,
    styled,
    to_svg,
    write,
)
from polymine.reporting.formatting import format_rate, format_score
from polymine.reporting.mining.histograms import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, SIDE = 380, 14  # pixels of a small chart, and of its margins
ROW = 62  # pixels of a histogram with its label
LOWEST = 1e-3  # shares below it are drawn at the edge of a reliability panel
SPAN = 200  # the highest rate of the trade-off over the lowest that is drawn
FEWEST = 30  # candidates in a bin from which its true share says something
WITHIN = 1.5  # the factor that the band around the diagonal shows


def draw_histogram(
    histogram: Histogram,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    *,
    rates: bool = False,
) -> Markup:
    """Draw groups one below the other over one axis, each scaled to its own highest bar.

    Args:
        histogram: one bin or more.
        title: is read out by screen readers.
        marks: (value, label) of dashed lines across all groups, where the axis has the value.
        rates: the values are decimal logarithms of rates, and are written as rates.

    Returns:
        The chart, as high as it has groups.
    """
    name = _rate_of_log if rates else "{:.4g}".format
    edges = histogram.edges
    with styled():
        figure = new_figure(WIDTH, ROW * len(histogram.groups) + 22)
        for at, group in enumerate(histogram.groups):
            axes = add_panel(figure, SIDE, ROW * at + 16, WIDTH - 2 * SIDE, 40)
            colour = COLOURS[group.kind]
            middle = _rate_of_log(group.median) if rates else format_score(group.median)
            about = f"{group.total:,} · median {middle}"
            axes.set_title(group.label, color=colour, pad=5)
            axes.set_title(about, loc="right", color=COLOURS["soft"], weight="normal", pad=5)
            for low, high, count in zip(edges, edges[1:], group.counts, strict=False):
                tip = f"{TIP}{name(low)} to {name(high)}: {count:,}"
                if count:
                    axes.bar(low, count, (high - low) * 0.92, align="edge", color=colour, gid=tip)
            for value, label in marks:
                if edges[0] <= value <= edges[-1]:
                    axes.axvline(value, color=COLOURS["soft"], ls="--", lw=0.9, gid=TIP + label)
            axes.axvline(group.median, color=COLOURS["ink"], lw=1.4, gid=f"{TIP}median")
            axes.set(xlim=(edges[0], edges[-1]), ylim=(0, max(group.counts) or 1), yticks=[])
            _name_values(axes, rates=rates, shown=at == len(histogram.groups) - 1)
        return to_svg(figure, title)


def draw_columns(columns: Sequence[tuple[str, int]], title: str, kind: str) -> Markup:
    """Draw one column per (label, count), the count above it, from 10,000 on in thousands."""
    with styled():
        figure = new_figure(WIDTH, 136)
        axes = add_panel(figure, SIDE, 18, WIDTH - 2 * SIDE, 96)
        for at, (label, count) in enumerate(columns):
            axes.bar(at, count, 0.86, color=COLOURS[kind], gid=f"{TIP}{label}: {count:,}")
            short = f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"
            write(axes, (at, count), short, (0, 4))
        axes.set(xticks=range(len(columns)), yticks=[], xlim=(-0.5, len(columns) - 0.5))
        axes.set_xticklabels([label for label, _ in columns])
        return to_svg(figure, title)


def draw_trade_off(curve: Sequence[Point], chosen: Point, budget: float) -> Markup:
    """Draw hardness over expected false negatives (logarithmic), the budget, and what was taken."""
    high = max(*(p.expected for p in curve), chosen.expected, budget)
    least = min((p.expected for p in curve if p.expected > 0), default=high)
    low = min(v for v in (max(high / SPAN, least), chosen.expected, budget, high) if v > 0)
    shown = [point for point in curve if point.expected >= low / 1.15]
    with styled():
        figure = new_figure(560, 300)
        axes = add_panel(figure, 52, 24, 492, 232)
        axes.plot([p.expected for p in shown], [p.hardness for p in shown],
                  color=COLOURS["excluded"], lw=1)  # fmt: skip
        for point in shown:
            tip = f"{format_rate(point.expected)} expected, hardness {format_score(point.hardness)}"
            dot(axes, point.expected, point.hardness, "excluded", 4.8, tip)
        label = f"taken: {format_rate(chosen.expected)}, {format_score(chosen.hardness)}"
        taken = (max(chosen.expected, low), chosen.hardness)
        dot(axes, *taken, "negative", 11, label)
        axes.axvline(budget, color=COLOURS["soft"], ls="--", lw=1)
        write(axes, (budget, 1), f"budget {format_rate(budget)}", frame=axes.get_xaxis_transform())
        axes.set_xscale("log")
        axes.set_xlim(low / 1.15, min(max(high, low * 2) * 1.15, 1.0))
        axes.margins(y=0.08)
        late = chosen.expected > (low * high) ** 0.5  # a rising curve leaves room to the left above
        offset = (-9, 9) if late else (9, -16)
        write(axes, taken, label, offset, "negative", ha="right" if late else "left", weight="bold")
        _name_rates(axes.xaxis, (1, 2, 5))
        name_axes(axes, "expected false negatives", "hardness")
        return to_svg(figure, "Hardness against expected false negatives")


def draw_reliability(proofs: Sequence[Proof]) -> Markup:
    """Draw the true share of relevant candidates over the expected one, two collections a row.

    A bin of fewer than `FEWEST` pairs is hollow and not joined by the line.
    """
    side, step = 200, 262
    rows = -(-len(proofs) // 2)
    with styled():
        figure = new_figure(52 + min(len(proofs), 2) * 248, rows * step)
        for at, proof in enumerate(proofs):
            axes = add_panel(figure, 52 + at % 2 * 248, 24 + at // 2 * step, side, side)
            axes.set(xscale="log", yscale="log", xlim=(LOWEST, 1), ylim=(LOWEST, 1))
            axes.set_title(proof.collection, pad=5)
            for factor in (1.0, WITHIN, 1 / WITHIN):
                start, stop = max(LOWEST, LOWEST / factor), min(1.0, 1 / factor)
                line = {"lw": 1.0} if factor == 1 else {"lw": 0.7, "ls": ":"}
                axes.plot((start, stop), (start * factor, stop * factor), color=COLOURS["ink"],
                          **line)  # fmt: skip
            told = [(_edge(b.expected), _edge(b.true)) for b in proof.bins
                    if b.count >= FEWEST and b.true > 0]  # fmt: skip
            axes.plot([x for x, _ in told], [y for _, y in told], color=COLOURS["negative"], lw=1)
            for found in proof.bins:
                _reliable(axes, found)
            sums = f"{proof.expected:.1f} expected,\n{proof.true:.1f} true per query"
            write(axes, (1, 0), sums, (-4, 6), "ink", "axes fraction", "right", linespacing=1.3)
            _name_rates(axes.xaxis, (1,))
            _name_rates(axes.yaxis, (1,), shown=at % 2 == 0)
            name_axes(axes, "expected" if at + 2 >= len(proofs) else "", "" if at % 2 else "true")
        return to_svg(figure, "True share of relevant candidates over the expected one")


def _reliable(axes: Axes, found: Bin) -> None:
    few = found.count < FEWEST
    shares = f"expected {format_rate(found.expected)}, true {format_rate(found.true)}"
    dot(axes, _edge(found.expected), _edge(found.true), "excluded" if few else "negative", 6.4,
        f"{shares} of {found.count:,}", hollow=few)  # fmt: skip


def _edge(share: float) -> float:
    return min(max(share, LOWEST), 1.0)


def _name_values(axes: Axes, *, rates: bool, shown: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=rates, steps=[1, 2, 2.5, 5, 10]))
    if rates:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate_of_log(value)))
    axes.tick_params(labelbottom=shown)


def _name_rates(axis: Any, factors: tuple[int, ...], *, shown: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=factors))
    rates = FuncFormatter(lambda value, _: format_rate(value)) if shown else NullFormatter()
    axis.set_major_formatter(rates)
    axis.set_minor_formatter(NullFormatter())


def _rate_of_log(value: float) -> str:
    return format_rate(10**value)
