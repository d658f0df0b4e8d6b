"""Histograms counted by polars where the rows lie, so that no column is held in memory twice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

BINS = 36  # at most; a bar is then about ten pixels wide in a chart of three to a page


@dataclass(frozen=True)
class Grid:
    """Equal bins: bin `i` reaches from `start + i step` to `start + (i + 1) step`."""

    start: float
    step: float
    bins: int

    @property
    def stop(self) -> float:
        """Upper end of the last bin."""
        return self.start + self.bins * self.step

    def edge(self, index: int) -> float:
        """Lower end of a bin."""
        return self.start + index * self.step


@dataclass(frozen=True)
class Group:
    """One of the groups whose values share a histogram."""

    label: str
    kind: str
    counts: tuple[int, ...]
    median: float | None

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.counts)


@dataclass(frozen=True)
class Histogram:
    """Groups over one grid."""

    grid: Grid
    groups: tuple[Group, ...]


def make_grid(low: float, high: float, bins: int = BINS) -> Grid:
    """Cover `low` to `high` with at most about `bins` bins whose edges are round numbers."""
    least = max(abs(low), abs(high), 1.0) * 1e-6  # below it float32 scores do not differ
    if high - low < least:
        low, high = low - least * 10, high + least * 10
    raw = (high - low) / bins
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return Grid(first * step, step, max(1, last - first))


def describe(values: pl.LazyFrame) -> pl.LazyFrame:
    """Sum up `value` per `group`: what is needed before bins can be chosen."""
    value = pl.col("value")
    return values.group_by("group").agg(
        low=value.min(), high=value.max(), median=value.median(), total=pl.len()
    )


def grid_of(described: pl.DataFrame) -> Grid | None:
    """Choose bins for all groups together; None where there is nothing to count."""
    if not len(described):
        return None
    low, high = described["low"].min(), described["high"].max()
    return make_grid(float(low), float(high))  # type: ignore[arg-type]


def count_bins(values: pl.LazyFrame, grid: Grid) -> pl.LazyFrame:
    """Count `value` per `group` and bin; every value falls into exactly one."""
    place = (pl.col("value").cast(pl.Float64) - grid.start) / grid.step
    index = place.floor().clip(0, grid.bins - 1).cast(pl.Int32)
    return values.group_by("group", index.alias("bin")).len()


def assemble(
    grid: Grid,
    described: pl.DataFrame,
    counted: pl.DataFrame,
    groups: Sequence[tuple[str, str, str]],
) -> Histogram:
    """Put counts into the order of `groups` (name, label, kind); those without values stay out."""
    medians: Mapping[str, float] = dict(zip(described["group"], described["median"], strict=True))
    made = []
    for name, label, kind in groups:
        if name in medians:
            counts = [0] * grid.bins
            for index, count in counted.filter(group=name).select("bin", "len").rows():
                counts[index] = count
            made.append(Group(label, kind, tuple(counts), float(medians[name])))
    return Histogram(grid, tuple(made))
