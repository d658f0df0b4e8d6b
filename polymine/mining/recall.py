"""How many of the known positives each teacher finds, and whose scores therefore decide.

A known positive's rank counts the candidates that score at least as high, known positives of the
query left out (the "filtered" rank of link prediction, Bordes et al. 2013); copies and versions of
a positive are no candidates either. A tie counts against the teacher: one that knows no word of a
language gives all of it the same score.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

TOP = 10  # ranks that count for the second of the two shares
ENOUGH = 20  # queries from which two teachers' shares are compared
SURE = 3.0  # standard errors: questions on one passage hang together, so two would be too few
HEAD_START = 0.2  # of dense teachers before a lexical one


def find_recall(
    teacher: str, evidence: pl.LazyFrame, positives: pl.LazyFrame, key: Sequence[str] = ()
) -> pl.LazyFrame:
    """Find which share of each query's known positives a teacher ranks first, and within TOP.

    Args:
        teacher: whose `score_*` and `rank_*` are read.
        evidence: contract Evidence; what was found below a ceiling has no rank and does not count.
        positives: contract Positives.
        key: further columns of `positives` that go along with the query.

    Returns:
        query_id, the columns of `key`, first, within: a row per query with a known positive.
    """
    score, rank, pair = f"score_{teacher}", pl.col(f"rank_{teacher}"), ["query_id", "doc_id"]
    rivals = evidence.filter(pl.col("closed").is_null())
    place = rank.rank("ordinal").over("query_id")  # among rivals alone
    near = rivals.filter(rank.is_not_null()).filter(place <= TOP)
    each = positives.select(*pair, *key, score).join(
        near.select("query_id", rival=score), on="query_id", how="left"
    )
    ranks = each.group_by(*pair, *key).agg(
        above=(pl.col("rival") >= pl.col(score)).sum(), rivals=pl.col("rival").count()
    )
    own = evidence.filter(pl.col("closed") == "positive").select(*pair, own=rank)
    # Where fewer rivals are ranked, a positive that is not is behind those that are not.
    found = pl.col("own").is_not_null() | (pl.col("rivals") >= TOP)
    shares = {"first": (pl.col("above") < 1) & found, "within": (pl.col("above") < TOP) & found}
    joined = ranks.join(own, on=pair, how="left")
    return joined.group_by("query_id", *key).agg(**{n: s.mean() for n, s in shares.items()})


def choose_primary(shares: NDArray[np.float64], lexical: Sequence[bool]) -> int:
    """Choose the teacher whose scores decide: the first one that no other leads far enough.

    That is by more than SURE standard errors of the mean difference over queries, of which there
    must be ENOUGH, and for a lexical teacher that is not the first by HEAD_START as well.

    Args:
        shares: of the known positives that a teacher (row) finds for a query (column).
        lexical: which teachers are.

    Returns:
        Its row.
    """
    if shares.shape[1] < ENOUGH:
        return 0
    handicap = np.array([HEAD_START if at and is_so else 0.0 for at, is_so in enumerate(lexical)])
    reached = shares - handicap[:, None]
    gaps = reached[int(np.argmax(reached.mean(axis=1)))] - reached
    errors = gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1])
    return int(np.argmax(gaps.mean(axis=1) <= SURE * errors))
