"""Rank consistency: do two languages order the same texts alike?

Jina's language gap study (2024) ranks sentences by their similarity to a reference, translates all
of them, and ranks again. RSIM of Huang et al. (arXiv 2407.14878) compares the same two matrices.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.evaluation.gap.cases import gather_cases, make_cases
from polymine.evaluation.gap.parallel import Parallel, Rows, Vectors

CONSISTENCY = "rank-consistency"


def rank_consistency(parallel: Parallel, vectors: Vectors) -> pl.DataFrame:
    """Correlate the two languages' orderings of the same texts around the same reference.

    For languages A and B and a reference r: Spearman's correlation of cos(A_r, A_s) and
    cos(B_r, B_s) over all other texts s that both languages have.

    Args:
        parallel: the texts.
        vectors: unit vectors (n, d) in their order.

    Returns:
        `GapCases` of `rank-consistency`: a case per pair and reference, from -1 to 1.
    """
    ranked: dict[bytes, NDArray[np.float32]] = {}

    def ranks(rows: Rows) -> NDArray[np.float32]:
        """Ranks of a language's texts, which most of its pairs share."""
        key = rows.tobytes()
        if key not in ranked:
            ranked[key] = _standard_ranks(vectors[rows])
        return ranked[key]

    parts = []
    for a, b, groups, left, right in parallel.pairs(least=3):
        values = np.einsum("rs,rs->r", ranks(left), ranks(right), dtype=np.float64)
        parts.append(make_cases(CONSISTENCY, a, b, groups, values))
    return gather_cases(parts)


def _standard_ranks(vectors: Vectors) -> NDArray[np.float32]:
    """Rank all other texts by their cosine with each: (n, n - 1), rows centred, of unit length.

    The product of two such rows is Spearman's correlation. A row without an order, as of texts that
    are all equal, is 0 and correlates with nothing.
    """
    from scipy.stats import rankdata

    size = len(vectors)
    others = (vectors @ vectors.T)[~np.eye(size, dtype=bool)].reshape(size, size - 1)
    ranks = rankdata(others, axis=1) - size / 2
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    standard: NDArray[np.float32] = (ranks / np.where(length > 0, length, 1)).astype(np.float32)
    return standard
