"""What the field's common rule, 95 % of the known positive's score, would make of a run.

It chooses from the same candidates and does not search deeper, so it may leave queries short.
"""

from dataclasses import dataclass

import polars as pl

from polymine.data_contracts.settings import SelectionSettings
from polymine.mining.selection import compute_ceilings
from polymine.reporting.mining.tables import Section, Tables

PERCENT = 0.95  # of the lowest known positive's score (NV-Retriever, arXiv 2407.15831)
KEYS = ["query_id", "doc_id"]


@dataclass(frozen=True)
class ByPercent:
    """The negatives that the rule would take.

    Args:
        count: how many.
        shared: of them that the run took, too.
        rate: expected share of false negatives, by the run's risks.
        hardness: mean score of the primary teacher.
    """

    count: int
    shared: int
    rate: float
    hardness: float


class Percent(Section):
    """Takes each query's hardest candidates below the rule's ceiling.

    Args:
        tables: of the run.
        wanted: negatives per query.
    """

    def __init__(self, tables: Tables, wanted: int) -> None:
        super().__init__(tables)
        self._wanted = wanted

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan one frame of one row: count, shared, rate, hardness."""
        tables = self.tables
        score = pl.col(f"score_{tables.primary}").cast(pl.Float64)
        rule = SelectionSettings(rule="percent", percent=PERCENT)
        below = compute_ceilings(tables.known, rule).select("query_id", "ceiling")
        open_ = tables.evidence.filter(pl.col("closed").is_null()).select(*KEYS, score=score)
        passed = open_.join(below, on="query_id").filter(pl.col("score") < pl.col("ceiling"))
        order = passed.sort("query_id", "score", "doc_id", descending=[False, True, False])
        hardest = order.filter(pl.int_range(pl.len()).over("query_id") < self._wanted)
        taken = hardest.join(tables.risks, on=KEYS, how="left")
        kept = tables.kept.select(*KEYS, shared=pl.lit(value=True))
        return (
            taken.join(kept, on=KEYS, how="left").select(
                pl.len(),
                pl.col("shared").count(),
                rate=pl.col("risk").cast(pl.Float64).mean(),
                hardness=pl.col("score").mean(),
            ),
        )

    def finish(self) -> ByPercent | None:
        """Say what it would take; None where that is nothing."""
        count, shared, rate, hardness = self.frames[0].row(0)
        return ByPercent(count, shared, rate, hardness) if count else None
