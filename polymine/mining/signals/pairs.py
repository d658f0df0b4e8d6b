"""What a signal is given: the pairs of a block of queries, and who can say something of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.known import Ids, Known
from polymine.mining.ranking import Ranked
from polymine.mining.teachers import Rows, Teacher

Column = NDArray[np.generic] | pl.Series

DECIMALS = 4  # of stored z-scores: fine enough, and arithmetic that differs in a last bit is hidden


@dataclass(frozen=True)
class Pairs:
    """(query, candidate) pairs by row number, ordered by query, then candidate.

    Attributes:
        queries, documents: row numbers, shape (n,).
        teachers: the first is the one whose scores set `positive_score`.
        rankings: one per teacher.
        known: positives, closed and labelled pairs of these queries.
        columns: what earlier signals found.
        likeliest: (query, document) pairs that form the centroids of `feedback`, where that was
            decided before; else they are chosen from these pairs.
    """

    queries: Rows
    documents: Rows
    teachers: Sequence[Teacher]
    rankings: Sequence[Ranked]
    known: Known
    ids: Ids
    columns: dict[str, Column] = field(default_factory=dict)
    likeliest: tuple[Rows, Rows] | None = None

    @property
    def keys(self) -> NDArray[np.int64]:
        """One number per pair, int64, ascending."""
        return self.key(self.queries, self.documents)

    def key(self, queries: Rows, documents: Rows) -> NDArray[np.int64]:
        """Number pairs as `keys` does.

        Args:
            queries, documents: row numbers, (m,) each, in any order.

        Returns:
            int64, (m,).
        """
        return queries * len(self.ids.documents) + documents

    def find(self, queries: Rows, documents: Rows) -> NDArray[np.int64]:
        """Look pairs up among these.

        Args:
            queries, documents: row numbers, (m,) each, in any order.

        Returns:
            Position of each, shape (m,); -1 for a pair that is not there.
        """
        if not len(self.queries):
            return np.full(len(queries), -1)
        wanted = self.key(queries, documents)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.queries) - 1)
        return np.where(self.keys[place] == wanted, place, -1)

    def array(self, name: str) -> NDArray[np.float64]:
        """Read a column that an earlier signal found.

        Args:
            name: of the column.

        Returns:
            float64, (n,); null as NaN.
        """
        column = self.columns[name]
        return (
            column.cast(pl.Float64).fill_null(np.nan).to_numpy()
            if isinstance(column, pl.Series)
            else column.astype(np.float64)
        )


def rounded(values: NDArray[np.float64]) -> pl.Series:
    """Bring z-scores into the form that is stored.

    Args:
        values: (n,).

    Returns:
        float32, four decimals, NaN as null.
    """
    return pl.Series(np.round(values, DECIMALS).astype(np.float32)).fill_nan(None)
