"""Bitext mining: how often is the nearest text in the other language not the translation?"""

import numpy as np
import polars as pl

from polymine.evaluation.gap.cases import gather_cases, make_cases
from polymine.evaluation.gap.parallel import Parallel, Vectors
from polymine.evaluation.significance import Numbers

XSIM, ERROR = "xsim", "nearest-error"
NEIGHBOURS = 4  # as LASER's xsim and Artetxe & Schwenk have it


def mining_errors(parallel: Parallel, vectors: Vectors) -> pl.DataFrame:
    """Look for each text's translation among all texts of the other language.

    Args:
        parallel: the texts.
        vectors: unit vectors (n, d) in their order.

    Returns:
        `GapCases` per direction, the language that is searched first: 1 where another text than the
        translation is nearest, else 0. `nearest-error` is by cosine. `xsim` is by the ratio margin
        (Artetxe & Schwenk, arXiv 1811.01136): the cosine over the mean cosine of both texts with
        their four nearest, so that texts that are near to everything do not win.
    """
    parts = []
    for a, b, groups, left, right in parallel.pairs():
        cosines = (vectors[left] @ vectors[right].T).astype(np.float64)
        for name, scores in ((XSIM, _margins(cosines)), (ERROR, cosines)):
            for found, asked, table in ((b, a, scores), (a, b, scores.T)):
                missed = table.argmax(axis=1) != np.arange(len(table))
                parts.append(make_cases(name, found, asked, groups, missed.astype(np.float64)))
    return gather_cases(parts)


def _margins(cosines: Numbers) -> Numbers:
    """Cosines over the mean of both texts' nearest ones, (n, n)."""
    count = min(NEIGHBOURS, len(cosines))
    rows, columns = (np.sort(cosines, axis=axis) for axis in (1, 0))
    near = rows[:, -count:].mean(axis=1)[:, None] + columns[-count:].mean(axis=0)[None]
    # Where all neighbours lie at right angles no ratio is defined: there the cosine decides.
    scores: Numbers = np.where(near > 0, cosines / np.where(near > 0, near / 2, 1), cosines)
    return scores
