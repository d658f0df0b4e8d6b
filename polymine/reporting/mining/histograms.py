"""Histograms, counted by polars where the rows lie: no column is held in memory twice."""

from dataclasses import dataclass

import polars as pl

from polymine.reporting.mining.tables import Section, Tables

BINS = 36  # at most; a bar is then about ten pixels wide in a chart of three to a page
LOWEST_RISK = 1e-4  # lower ones are counted as this one: their logarithm is without end
GROUPS = {  # what a group is called in its chart, and its colour
    "positive": ("known positives", "positive"),
    "negative": ("kept negatives", "negative"),
    "excluded": ("excluded candidates", "excluded"),
    "promoted": ("promoted to positive", "promoted"),
    "margin": ("triplets", "negative"),
}


@dataclass(frozen=True)
class Group:
    """One of the groups whose values share a histogram."""

    label: str
    kind: str
    counts: tuple[int, ...]
    median: float

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.counts)


@dataclass(frozen=True)
class Histogram:
    """Groups over equal bins, each from one edge to the next."""

    edges: tuple[float, ...]
    groups: tuple[Group, ...]


def list_values(tables: Tables) -> pl.LazyFrame:
    """List all values of all histograms.

    Args:
        tables: of the run; nothing is read yet.

    Returns:
        chart, group, value (Float64); risks as decimal logarithms, logits relative to the lowest
        of a known positive.
    """
    verdict = pl.col("verdict").cast(pl.String)
    # The known positives are among the candidates that are excluded; they have a group already.
    others = tables.negatives.filter(pl.col("reason") != "known positive: positive")
    risk = pl.col("risk").cast(pl.Float64).clip(lower_bound=LOWEST_RISK).log10()
    margin = pl.col("positive_score") - pl.col("negative_score")
    lit = pl.lit
    charts = [
        tables.known.select(chart=lit("scores"), group=lit("positive"), value="score"),
        others.select(chart=lit("scores"), group=verdict, value="score"),
        tables.triplets.select(chart=lit("margins"), group=lit("margin"), value=margin),
        others.select(chart=lit("risks"), group=verdict, value=risk),
    ]
    if tables.logits is not None:
        relative = pl.col("validator_score") - pl.col("lowest")
        asked = tables.negatives.join(tables.logits.lazy(), on="query_id")
        charts.append(asked.select(chart=lit("logits"), group=verdict, value=relative))
    rows = pl.concat([chart.with_columns(pl.col("value").cast(pl.Float64)) for chart in charts])
    return rows.drop_nulls("value")


class Ranges(Section):
    """Lowest, highest and middle value of each group: what is needed before bins are chosen."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan one row per chart and group."""
        value = pl.col("value")
        found = list_values(self.tables).group_by("chart", "group")
        return (found.agg(low=value.min(), high=value.max(), median=value.median()),)

    def finish(self) -> pl.DataFrame:
        """Columns chart, group, low, high, median."""
        return self.frames[0]


class Histograms(Section):
    """The histograms, over bins that follow from the ranges."""

    def __init__(self, tables: Tables, ranges: pl.DataFrame) -> None:
        super().__init__(tables)
        self.ranges = ranges
        spans = ranges.group_by("chart").agg(pl.min("low"), pl.max("high"))
        self.edges = {chart: choose_edges(low, high) for chart, low, high in spans.rows()}

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan to count every value once."""
        rows = [(c, e[0], (e[-1] - e[0]) / (len(e) - 1), len(e) - 2) for c, e in self.edges.items()]
        schema = {"chart": pl.String, "start": pl.Float64, "step": pl.Float64, "last": pl.Int32}
        grids = pl.LazyFrame(rows, schema=schema, orient="row")
        bin_ = ((pl.col("value") - pl.col("start")) / pl.col("step")).floor()
        index = bin_.clip(0, pl.col("last")).cast(pl.Int32)
        binned = list_values(self.tables).join(grids, on="chart")
        return (binned.group_by("chart", "group", bin=index).len(),)

    def finish(self) -> dict[str, Histogram]:
        """Histograms by chart; groups without values are left out."""
        counts = {row[:3]: row[3] for row in self.frames[0].rows()}
        medians = {row[:2]: row[2] for row in self.ranges.select("chart", "group", "median").rows()}
        return {
            chart: Histogram(
                edges,
                tuple(
                    Group(
                        label, kind,
                        tuple(counts.get((chart, name, at), 0) for at in range(len(edges) - 1)),
                        medians[chart, name],
                    )
                    for name, (label, kind) in GROUPS.items() if (chart, name) in medians
                ),
            )
            for chart, edges in self.edges.items()
        }  # fmt: skip


def choose_edges(low: float, high: float, bins: int = BINS) -> tuple[float, ...]:
    """Cover a range with at most about `bins` equal bins, whose edges are round numbers."""
    from matplotlib.ticker import MaxNLocator

    least = max(abs(low), abs(high), 1.0) * 1e-6  # below it float32 scores do not differ
    if high - low < least:
        low, high = low - least * 10, high + least * 10
    edges = MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = edges[1] - edges[0]
    return tuple(float(edge) for edge in edges if low - step < edge < high + step)
