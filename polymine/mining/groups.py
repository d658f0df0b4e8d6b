"""Connected components: what belongs together because some chain of links joins it."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def components(size: int, left: Indices, right: Indices) -> Indices:
    """Component of each of `size` nodes joined by the edges (left[i], right[i]).

    A component is named by its lowest node, so the answer does not depend on the edges' order.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    lowest = np.full(count, size, dtype=np.int64)
    np.minimum.at(lowest, labels, np.arange(size))
    named: Indices = lowest[labels]
    return named


def linked(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Component of every row, where rows with an equal value in any of `columns` are joined.

    Nulls join nothing. Each row is linked to the first of its value, so that a group of k rows
    costs k links and not k squared. Components are named by their lowest row number (Int64).
    """
    row = pl.col("row")
    firsts = frame.select(columns).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    firsts = firsts.select(
        pl.when(pl.col(name).is_not_null()).then(row.first().over(name)).otherwise(row).alias(name)
        for name in columns
    )
    left = np.tile(np.arange(frame.height), len(columns))
    right = np.concatenate([firsts[name].to_numpy() for name in columns])
    return pl.Series("component", components(frame.height, left, right))
