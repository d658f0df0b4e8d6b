"""The search of the whole corpus below a ceiling, for queries that are short of candidates."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from polymine.data_contracts.settings import MiningSettings
from polymine.mining.evidence import gather_evidence
from polymine.mining.known import Ids, Known
from polymine.mining.ranking import BLOCK_QUERIES, NOTHING, Ranked, rank_below
from polymine.mining.selection import compare_with_ceilings, count_searched, limit_depth
from polymine.mining.teachers import Teacher
from polymine.progress import Progress


def compare_below(
    gathered: pl.DataFrame, ceilings: pl.DataFrame, mining: MiningSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Say which candidates pass, and below which scores to look for more.

    Args:
        gathered: contract evidence; under the rule `risk` with the column `risk`.
        ceilings: query_id, ceiling, as from `compute_ceilings`.

    Returns:
        The candidates with a `reason` where they do not pass, and query_id, ceiling to search by.
    """
    if "risk" not in gathered.columns:
        gathered = gathered.with_columns(risk=pl.lit(None, pl.Float32))
    teacher, selection = mining.primary_teacher, mining.selection
    compared = compare_with_ceilings(gathered, ceilings, teacher, selection)
    if selection.rule != "risk":
        return compared, ceilings
    return limit_depth(compared, gathered, ceilings, teacher)


class DeepSearch:
    """The corpus and its teachers, opened once for all blocks of queries.

    Args:
        teachers: of the run; the primary one is searched.
        known: pairs that may never be negatives.
        ids: row numbers of queries and documents.
    """

    def __init__(
        self, teachers: Sequence[Teacher], known: Known, ids: Ids, mining: MiningSettings
    ) -> None:
        self._teachers, self._known, self._ids = teachers, known, ids
        self._primary = next(each for each in teachers if each.name == mining.primary_teacher)
        self._count = count_searched(mining)

    def below(
        self, short: pl.DataFrame, likeliest: pl.DataFrame, progress: Progress
    ) -> pl.DataFrame:
        """Gather the evidence on what lies below the ceilings of short queries.

        Args:
            short: query_id, ceiling, as from `find_short`.
            likeliest: query_id, doc_id of the candidates in each query's centroid.
            progress: advanced by queries, in the stage `deepen`.

        Returns:
            Contract Evidence, by query_id, doc_id; no candidate has a rank.
        """
        rows = self._ids.queries.search_sorted(short["query_id"]).to_numpy().astype(np.int64)
        limits = short["ceiling"].to_numpy()
        nothing: list[Ranked] = [NOTHING] * len(self._teachers)
        parts = []
        for start in range(0, len(rows), BLOCK_QUERIES):
            part = slice(start, start + BLOCK_QUERIES)
            known = self._known.of(rows[part])
            deep = rank_below(self._primary, rows[part], limits[part], self._count, known.closed)
            some = likeliest.join(short[part].select("query_id"), on="query_id", how="semi")
            parts.append(gather_evidence(self._teachers, nothing, known, self._ids, deep, some))
            progress.advance("deepen", len(rows[part]))
        return pl.concat(parts)
