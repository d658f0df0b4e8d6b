"""Ranks, and how many teachers agree that a document belongs among the candidates."""

import numpy as np
import polars as pl

from polymine.mining.ranking import Ranked
from polymine.mining.signals.pairs import Column, Pairs


def find(pairs: Pairs) -> dict[str, Column]:
    """Look up each candidate's rank.

    Returns:
        `rank` (the best of any teacher), `rank_*` and `agreement`, a count of teachers. A
        candidate outside a teacher's ranking has a null rank there; one found below a ceiling
        has none at all.
    """
    ranks = {
        f"rank_{teacher.name}": _ranks(pairs, ranking)
        for teacher, ranking in zip(pairs.teachers, pairs.rankings, strict=True)
    }
    frame = pl.DataFrame(ranks)
    agreement = frame.select(
        pl.sum_horizontal([pl.col(name).is_not_null() for name in ranks]).cast(pl.UInt8)
    )
    best = frame.select(rank=pl.min_horizontal(list(ranks)))
    return {"rank": best["rank"], **ranks, "agreement": agreement.to_series()}


def _ranks(pairs: Pairs, ranking: Ranked) -> pl.Series:
    out = np.zeros(len(pairs.queries), dtype=np.uint32)
    out[pairs.find(ranking.queries, ranking.documents)] = ranking.ranks
    return pl.Series(out).replace(0, None)
