"""Everything the teachers know about each candidate, gathered once and stored.

All teachers score the union of their candidates. Selection later reads this table only, so that
another rule or another budget needs no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.ranking import Ranked
from polymine.mining.teachers import Rows, Scores, Teacher

COMPARED = 1 << 20  # candidates times positives compared at a time: 60 MB of work space
_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Ids:
    """Row numbers back to ids: sorted, unique."""

    queries: pl.Series
    documents: pl.Series


@dataclass(frozen=True)
class Known:
    """Known pairs by row number, ordered by query then document.

    `positives` are what judgments call relevant; `closed` every pair that may not be a negative,
    positives included, with its `reasons`.
    """

    positives: tuple[Rows, Rows]
    closed: tuple[Rows, Rows]
    reasons: pl.Series

    @classmethod
    def from_closure(cls, closure: pl.DataFrame, ids: Ids) -> "Known":
        """Translate a Closure table to row numbers."""
        table = closure.select(
            query=_row_of(ids.queries, closure["query_id"]),
            document=_row_of(ids.documents, closure["doc_id"]),
            reason=pl.col("reason").cast(pl.String),
        ).sort("query", "document")
        positive = table.filter(pl.col("reason") == "positive")
        return cls(_rows(positive), _rows(table), table["reason"])

    def of(self, queries: Rows) -> "Known":
        """Keep the pairs of some queries."""
        closed = np.isin(self.closed[0], queries)
        positive = np.isin(self.positives[0], queries)
        return Known(
            (self.positives[0][positive], self.positives[1][positive]),
            (self.closed[0][closed], self.closed[1][closed]),
            self.reasons.filter(pl.Series(closed)),
        )


def score_positives(teachers: Sequence[Teacher], known: Known, ids: Ids) -> pl.DataFrame:
    """Score the known positives with every teacher: query_id, doc_id, score_*."""
    queries, documents = known.positives
    return pl.DataFrame(
        {
            "query_id": ids.queries.gather(queries),
            "doc_id": ids.documents.gather(documents),
            **{f"score_{teacher.name}": teacher.score(queries, documents) for teacher in teachers},
        }
    )


def gather_evidence(
    teachers: Sequence[Teacher],
    rankings: Sequence[Ranked],
    known: Known,
    ids: Ids,
    deep: Ranked | None = None,
) -> pl.DataFrame:
    """Score the union of the candidates with every teacher (contract Evidence).

    Args:
        teachers: the first is the one whose scores set `positive_score`.
        rankings: one per teacher; a candidate outside a ranking has a null rank there.
        known: positives and closed pairs of the queries.
        deep: further candidates, found below a ceiling and therefore without a rank.

    Returns:
        Rows ordered by query_id, doc_id.
    """
    width = len(ids.documents)
    sources = [*rankings] if deep is None else [*rankings, deep]
    keys = np.unique(np.concatenate([_keys(r.queries, r.documents, width) for r in sources]))
    pairs = (keys // width, keys % width)
    queries = np.unique(pairs[0])
    place = np.searchsorted(queries, pairs[0])
    columns: dict[str, object] = {
        "query_id": ids.queries.gather(pairs[0]),
        "doc_id": ids.documents.gather(pairs[1]),
    }
    ranks = []
    for teacher, ranking in zip(teachers, rankings, strict=True):
        scores = teacher.score(*pairs)
        mean, deviation = teacher.moments(queries)
        columns[f"score_{teacher.name}"] = scores
        columns[f"z_{teacher.name}"] = ((scores - mean[place]) / deviation[place]).astype("f4")
        ranks.append(_ranks(keys, ranking, width).alias(f"rank_{teacher.name}"))
    similarity, lowest = _positive_side(teachers, pairs, known.positives)
    columns |= {"positive_similarity": similarity, "positive_score": lowest}
    columns |= {series.name: series for series in ranks}
    return _with_flags(pl.DataFrame(columns), ranks, _reasons(keys, known, width))


def _with_flags(frame: pl.DataFrame, ranks: list[pl.Series], reasons: pl.Series) -> pl.DataFrame:
    flags = ("same_group", "near_copy", "equals_query")
    return frame.with_columns(
        rank=pl.min_horizontal([series.name for series in ranks]), closed=reasons
    ).with_columns(
        *[pl.col("closed").eq_missing(pl.lit(flag)).alias(flag) for flag in flags],
        risk=pl.lit(None, pl.Float32),
    )


def _positive_side(
    teachers: Sequence[Teacher], pairs: tuple[Rows, Rows], positives: tuple[Rows, Rows]
) -> tuple[pl.Series, pl.Series]:
    """Highest similarity to a known positive, and the lowest positive's score, per candidate.

    Both are null for a query without a positive; selection leaves it out.
    """
    starts = np.searchsorted(positives[0], pairs[0], side="left")
    counts = np.searchsorted(positives[0], pairs[0], side="right") - starts
    lowest = np.full(len(counts), np.nan, dtype=np.float32)
    edges = np.flatnonzero(np.diff(positives[0], prepend=-1))
    if len(edges):
        minima = np.minimum.reduceat(teachers[0].score(*positives), edges)
        has = counts > 0
        lowest[has] = minima[np.searchsorted(positives[0][edges], pairs[0][has])]
    nearest = np.full(len(counts), np.nan, dtype=np.float32)
    for teacher in teachers:
        if teacher.similarity(_NO_ROWS, _NO_ROWS) is not None:
            _compare(teacher, pairs[1], positives[1], starts, counts, nearest)
            break
    return _nulled(nearest), _nulled(lowest)


def _compare(
    teacher: Teacher, documents: Rows, positives: Rows, starts: Rows, counts: Rows, nearest: Scores
) -> None:
    """Write into `nearest` each document's highest similarity to its span of `positives`.

    In blocks, because every candidate of a query meets every positive of it: what has forty
    positives per query would need forty times the memory.
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(COMPARED, total, COMPARED), side="left") + 1
    for block in np.split(np.arange(len(documents)), np.unique(cuts)):
        sizes = counts[block]
        place = np.repeat(np.arange(len(block)), sizes)
        offset = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positive = positives[np.repeat(starts[block], sizes) + offset]
        similar = teacher.similarity(documents[block][place], positive)
        assert similar is not None
        best = np.full(len(block), np.nan, dtype=np.float32)
        np.fmax.at(best, place, similar)
        nearest[block] = best


def _nulled(values: Scores) -> pl.Series:
    return pl.Series(values).fill_nan(None)


def _ranks(keys: NDArray[np.int64], ranking: Ranked, width: int) -> pl.Series:
    found = _keys(ranking.queries, ranking.documents, width)
    out = np.zeros(len(keys), dtype=np.uint32)
    out[np.searchsorted(keys, found)] = ranking.ranks
    return pl.Series(out).replace(0, None)


def _reasons(keys: NDArray[np.int64], known: Known, width: int) -> pl.Series:
    closed = _keys(*known.closed, width)
    if not len(closed):
        return pl.Series([None] * len(keys), dtype=pl.String)
    place = np.minimum(np.searchsorted(closed, keys), len(closed) - 1)
    hit = closed[place] == keys
    return known.reasons.gather(place).set(pl.Series(~hit), None)


def _keys(queries: Rows, documents: Rows, width: int) -> NDArray[np.int64]:
    return queries * width + documents


def _row_of(ids: pl.Series, values: pl.Series) -> pl.Series:
    return ids.search_sorted(values, side="left").cast(pl.Int64)


def _rows(table: pl.DataFrame) -> tuple[Rows, Rows]:
    return table["query"].to_numpy(), table["document"].to_numpy()
