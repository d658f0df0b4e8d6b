"""Mean and deviation of dot products with a whole set of vectors, without computing them.

Over a set with mean m and covariance S the products with v have mean v.m and variance v'Sv. That
is exact, and one matrix per language replaces a pass over the corpus per query.
"""

import numpy as np
from numpy.typing import NDArray

from polymine.mining.teachers import Rows, Scores, Standard, Vectors

BLOCK = 1 << 16  # vectors at a time; fixed, so that sums have the same bits whatever the tile is
PRODUCTS = 1 << 13  # vectors multiplied at a time: 50 MB of work space at d = 384
FEWEST = 10  # vectors from which a group has moments of its own; else those of all


class Moments:
    """Moments of a set of vectors, and of its groups (languages).

    Args:
        vectors: where they are.
        rows: which of them belong to the set.
        groups: a number per row of `vectors`.
    """

    def __init__(self, vectors: Vectors, rows: Rows, groups: Rows) -> None:
        self._vectors, self._rows, self._groups = vectors, rows, groups
        self._known: dict[int | None, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def standardise(self, left: Vectors, rows: Rows, groups: Rows, scores: Scores) -> Standard:
        """Turn dot products into z-scores over a group of the set.

        Args:
            left: vectors that are compared with the set.
            rows: of `left`, one per product, (n,).
            groups: with which group each is compared, (n,); one of fewer than 10 members stands for
                the whole set.
            scores: the products, (n,).

        Returns:
            z-scores, (n,); NaN where all members are alike, so that nothing stands out.
        """
        out = np.full(len(scores), np.nan)
        for group in np.unique(groups):
            pairs = np.flatnonzero(groups == group)
            used, back = np.unique(rows[pairs], return_inverse=True)
            expected, deviation = self._describe(int(group), left, used)
            out[pairs] = (scores[pairs] - expected[back]) / deviation[back]
        return out

    def _describe(
        self, group: int, left: Vectors, rows: Rows
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of the products of each of `rows` with a group's members."""
        mean, covariance = self._of(group)
        expected, deviation = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), PRODUCTS):
            part = slice(start, start + PRODUCTS)
            wide = left.take(rows[part]).astype(np.float64)
            expected[part] = wide @ mean
            deviation[part] = np.einsum("ij,ij->i", wide @ covariance, wide)
        deviation = np.sqrt(np.maximum(deviation, 0))
        deviation[deviation < 1e-6] = np.nan
        return expected, deviation

    def _of(self, group: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if group not in self._known:
            members = self._rows[self._groups[self._rows] == group]
            if FEWEST <= len(members) < len(self._rows):
                self._known[group] = self._compute(members)
            else:
                if None not in self._known:
                    self._known[None] = self._compute(self._rows)
                self._known[group] = self._known[None]
        return self._known[group]

    def _compute(self, members: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total = np.zeros(self._vectors.dimension)
        squares = np.zeros((self._vectors.dimension,) * 2)
        for start in range(0, len(members), BLOCK):
            vectors = self._vectors.take(members[start : start + BLOCK]).astype(np.float64)
            total += vectors.sum(axis=0)
            squares += vectors.T @ vectors
        count = max(len(members), 1)  # `languages` may leave no candidate at all
        mean = total / count
        return mean, squares / count - np.outer(mean, mean)
