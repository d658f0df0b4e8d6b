"""Connected components: what belongs together because some chain of links joins it."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def components(size: int, left: Indices, right: Indices) -> Indices:
    """Find which nodes hang together.

    Args:
        size: number of nodes, which are numbered from 0.
        left, right: shape (m,) each; edge i joins left[i] and right[i].

    Returns:
        Component of each node, shape (size,). It is named by its lowest node, so the answer does
        not depend on the edges' order.
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
    """Join rows with an equal value in any of some columns.

    Each row is linked to the first of its value, so that a group of k rows costs k links and not
    k squared.

    Args:
        columns: names; a null in them joins nothing.

    Returns:
        Component of every row (Int64), named by its lowest row number.
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
