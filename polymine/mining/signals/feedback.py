"""From the likely relevant ones to the candidate: pseudo-relevance feedback (Rocchio 1971).

The query, its known positives and its five best candidates by the plain sum of the z-scores form
a centroid; what stands near to it is likely to be relevant too.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.signals.pairs import Column, Pairs, rounded
from polymine.mining.teachers import Rows, Teacher

BEST = 5


def find(pairs: Pairs) -> dict[str, Column]:
    """Compare each candidate with its query's centroid.

    A known positive is left out of the centroid it is compared with.

    Args:
        pairs: with the columns `closed`, `z_*` and `positive_z_*`.

    Returns:
        `feedback_z_*` of dense teachers, null for a query without a positive and for its only
        one; `in_centroid`, whether it is one of the five.
    """
    if not any(teacher.symmetric for teacher in pairs.teachers):
        return {"in_centroid": pl.repeat(value=False, n=len(pairs.queries), eager=True)}
    groups = _Groups(pairs)
    inside = np.zeros(len(pairs.queries), dtype=np.bool_)
    place = pairs.find(*groups.likeliest)
    inside[place[place >= 0]] = True
    found: dict[str, Column] = {
        f"feedback_z_{teacher.name}": rounded(_compare(teacher, pairs, groups))
        for teacher in pairs.teachers
        if teacher.symmetric
    }
    return {"in_centroid": pl.Series(inside), **found}


class _Groups:
    """What each centroid is made of: one for every query, and one for each known positive in turn.

    Attributes:
        of: the centroid each pair is compared with, -1 for none.
        queries: the query of each centroid.
        likeliest: (query, document) pairs of the five best candidates.
        members: (centroid, document, weight) rows; the positives of one together weigh as one.
    """

    def __init__(self, pairs: Pairs) -> None:
        known, positives = pairs.known.positives
        self.likeliest = _find_likeliest(pairs) if pairs.likeliest is None else pairs.likeliest
        asked, first = np.unique(known, return_index=True)
        counts = np.diff(np.append(first, len(known)))
        hidden = np.flatnonzero(np.repeat(counts > 1, counts))
        self.queries = np.concatenate([asked, known[hidden]])
        self.of = np.full(len(pairs.queries), -1)
        if not len(asked):
            self.members: tuple[Rows, Rows, NDArray[np.float64]] = (known, known, np.empty(0))
            return
        place = np.minimum(np.searchsorted(asked, pairs.queries), len(asked) - 1)
        self.of = np.where(asked[place] == pairs.queries, place, -1)
        found = pairs.find(known, positives)
        self.of[found[found >= 0]] = -1
        inside = found[hidden] >= 0
        self.of[found[hidden][inside]] = len(asked) + np.flatnonzero(inside)
        self.members = self._members(pairs, asked, first, counts, hidden)

    def _members(
        self, pairs: Pairs, asked: Rows, first: Rows, counts: Rows, hidden: Rows
    ) -> tuple[Rows, Rows, NDArray[np.float64]]:
        positives = pairs.known.positives[1]
        base = np.repeat(np.arange(len(asked)), counts)
        of_asked = np.isin(self.likeliest[0], asked)
        best_of = np.searchsorted(asked, self.likeliest[0][of_asked])
        best = self.likeliest[1][of_asked]
        # The centroid that hides a positive has its query's other members.
        groups, documents = np.append(base, best_of), np.append(positives, best)
        weights = np.append(np.repeat(1 / counts, counts), np.ones(len(best)))
        order = np.argsort(groups, kind="stable")
        groups, documents, weights = groups[order], documents[order], weights[order]
        sizes = np.bincount(groups, minlength=len(asked))
        ends = np.cumsum(sizes)
        of_hidden = base[hidden]
        spread = np.repeat(np.arange(len(hidden)), sizes[of_hidden])
        offset = np.arange(len(spread)) - np.repeat(
            np.cumsum(sizes[of_hidden]) - sizes[of_hidden], sizes[of_hidden]
        )
        rows = np.repeat((ends - sizes)[of_hidden], sizes[of_hidden]) + offset
        others = documents[rows] != positives[hidden][spread]
        rows, spread = rows[others], spread[others]
        return (
            np.append(groups, len(asked) + spread),
            np.append(documents, documents[rows]),
            np.append(weights, weights[rows]),
        )


def _find_likeliest(pairs: Pairs) -> tuple[Rows, Rows]:
    """The open candidates with the highest sum of z-scores of each query that has a positive."""
    asked = np.unique(pairs.known.positives[0])
    total = np.zeros(len(pairs.queries))
    for teacher in pairs.teachers:
        total += np.nan_to_num(pairs.array(f"z_{teacher.name}"))
        if teacher.symmetric:
            total += np.nan_to_num(pairs.array(f"positive_z_{teacher.name}"))
    closed = pairs.columns["closed"]
    assert isinstance(closed, pl.Series)
    open_ = np.flatnonzero(closed.is_null().to_numpy() & np.isin(pairs.queries, asked))
    order = open_[np.lexsort((pairs.documents[open_], -total[open_], pairs.queries[open_]))]
    queries = pairs.queries[order]
    nth = np.arange(len(order)) - np.searchsorted(queries, queries, side="left")
    chosen = order[nth < BEST]
    return pairs.queries[chosen], pairs.documents[chosen]


def _compare(teacher: Teacher, pairs: Pairs, groups: _Groups) -> NDArray[np.float64]:
    out = np.full(len(pairs.queries), np.nan)
    has = np.flatnonzero(groups.of >= 0)
    if len(has):
        centroids = teacher.centroids(groups.queries, *groups.members)
        out[has] = teacher.standardise_vectors(centroids, groups.of[has], pairs.documents[has])
    return out
