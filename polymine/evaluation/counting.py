"""Counts the documents that stand before others, in tiles of queries and documents.

Tiles are multiplied and compared on a GPU where there is one. On a CPU that is NumPy's work: its
product takes two thirds of torch's time, its comparisons a twentieth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.mining.dense import DenseTeacher
from polymine.mining.ranking import ROUNDING
from polymine.mining.teachers import Rows, Scores, Vectors

if TYPE_CHECKING:
    from torch import Tensor

TILE = 512  # queries whose scores are in memory at once,
DOCUMENTS = 1 << 16  # with so many documents: 128 MB
COMPARED = 1 << 22  # scores that are compared at once: 16 MB and a mask


@dataclass(frozen=True)
class Search:
    """Queries and documents, as they were given.

    Attributes:
        asked, vectors: of queries and documents.
        before: per document, its place among all by descending id: the lower wins a tie.
        hidden: query, document, by query: pairs that are no rivals.
        scale: largest product of a query's and a document's length; cosines have 1.
    """

    asked: Vectors
    vectors: Vectors
    before: Rows
    hidden: pl.DataFrame
    scale: float = 1.0

    @property
    def rounding(self) -> np.float32:
        """More than a product of blocks can differ from the score of a pair alone."""
        return np.float32(ROUNDING * self.scale)

    @cached_property
    def teacher(self) -> DenseTeacher:
        """What scores pairs, each by itself."""
        return DenseTeacher("model", self.asked, self.vectors, scale=self.scale)


@dataclass(frozen=True)
class Pairs:
    """Relevant pairs by query: row numbers and their own scores, (pairs,) each."""

    queries: Rows
    documents: Rows
    scores: Scores

    @classmethod
    def of(cls, search: Search, relevant: pl.DataFrame) -> Pairs:
        """Score pairs.

        Args:
            search: what scores them.
            relevant: query and document, row numbers, ordered by query.

        Returns:
            The pairs in this order, each with its own score.
        """
        rows = (relevant[name].to_numpy().astype(np.int64) for name in ("query", "document"))
        queries, documents = rows
        return cls(queries, documents, search.teacher.score(queries, documents))

    def only(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Keep some of the pairs.

        Args:
            chosen: (pairs,), true for those to keep.

        Returns:
            Them in their order.
        """
        return Pairs(self.queries[chosen], self.documents[chosen], self.scores[chosen])

    def within(self, first: int, last: int) -> slice:
        """Say which pairs are of the queries from `first` to `last`.

        Args:
            first, last: row numbers of queries; `last` is not among them.

        Returns:
            Positions of the pairs.
        """
        start, stop = np.searchsorted(self.queries, [first, last])
        return slice(int(start), int(stop))


def count_before(search: Search, pairs: Pairs, rivals: Rows) -> Rows:
    """Count, for every pair, which of some documents stand before its own.

    Args:
        search: vectors of queries and documents, and what is hidden from a query.
        pairs: relevant pairs, by query.
        rivals: rows of documents, (m,); those of a pair itself may be among them.

    Returns:
        Counts, int64, (pairs,).
    """
    counts = np.zeros(len(pairs.queries), dtype=np.int64)
    device = models.visible_devices()[0]
    for start in range(0, len(rivals), DOCUMENTS):
        tile = rivals[start : start + DOCUMENTS]
        vectors = _placed(search.vectors.take(tile), device)
        for first in range(0, len(search.asked), TILE):
            last = min(first + TILE, len(search.asked))
            part = pairs.within(first, last)
            if part.stop > part.start:
                asked = _placed(search.asked.take(np.arange(first, last)), device)
                scores = _without_hidden(search, asked @ vectors.T, first, tile)
                counts[part] += _count_tile(search, pairs, part, scores, first, tile)
    return counts


def _placed(vectors: Scores, device: str) -> Any:
    """Put vectors on a GPU; an array on a CPU."""
    if device == "cpu":
        return vectors
    import torch

    return torch.from_numpy(vectors).to(device)


def _without_hidden(search: Search, scores: Any, first: int, tile: Rows) -> Any:
    """Put hidden pairs of a tile behind all others."""
    inside = pl.col("query").is_between(first, first + len(scores), closed="left")
    hidden = search.hidden.filter(inside & pl.col("document").is_in(pl.Series(tile).implode()))
    if hidden.height:
        column = np.searchsorted(tile, hidden["document"].to_numpy())
        scores[hidden["query"].to_numpy().astype(np.int64) - first, column] = -np.inf
    return scores


def _count_tile(
    search: Search, pairs: Pairs, part: slice, scores: Any, first: int, tile: Rows
) -> Rows:
    """Count documents of a tile, (documents ascending), before those of some pairs.

    Products of blocks differ in their last bits with a block's size, so that equal vectors seem
    unlike: whatever is within rounding is compared by the score of the pair alone.
    """
    counts = np.empty(part.stop - part.start, dtype=np.int64)
    compare = _compare if isinstance(scores, np.ndarray) else _compare_on_gpu
    step = max(1, COMPARED // len(tile))
    for start in range(part.start, part.stop, step):
        some = slice(start, min(start + step, part.stop))
        queries, own, score = pairs.queries[some], pairs.documents[some], pairs.scores[some]
        above, places, columns = compare(
            scores, queries - first, score - search.rounding, score + search.rounding
        )
        rivals = tile[columns]
        other = rivals != own[places]
        places, rivals = places[other], rivals[other]
        wins = _wins(search, queries[places], rivals, own[places])
        np.add.at(above, places[wins], 1)
        counts[start - part.start : some.stop - part.start] = above
    return counts


def _compare(scores: Scores, rows: Rows, low: Scores, high: Scores) -> tuple[Rows, Rows, Rows]:
    """Count in rows of scores what lies above `high`; list what lies from `low` to `high`.

    Returns:
        Counts (rows,), and the places among `rows` and the columns of what is listed.
    """
    above, listed = np.empty(len(rows), dtype=np.int64), []
    for at, row in enumerate(rows):
        line = scores[row]
        above[at] = np.count_nonzero(line > high[at])
        reached = line >= low[at]
        close = np.count_nonzero(reached) > above[at]
        listed.append(np.flatnonzero(reached & (line <= high[at])) if close else rows[:0])
    return above, np.repeat(np.arange(len(rows)), list(map(len, listed))), np.concatenate(listed)


def _compare_on_gpu(
    scores: Tensor, rows: Rows, low: Scores, high: Scores
) -> tuple[Rows, Rows, Rows]:
    """Do what `_compare` does."""
    import torch

    placed = (torch.from_numpy(array).to(scores.device) for array in (rows, low, high))
    places, least, most = placed
    block = scores[places]
    above = (block > most[:, None]).sum(1).cpu().numpy()
    near = ((block >= least[:, None]) & (block <= most[:, None])).nonzero().cpu().numpy()
    return above, near[:, 0], near[:, 1]


def _wins(search: Search, queries: Rows, rivals: Rows, own: Rows) -> NDArray[np.bool_]:
    """Tell which rivals stand before a query's own document, pair by pair."""
    theirs, ours = search.teacher.score(queries, rivals), search.teacher.score(queries, own)
    before: NDArray[np.bool_] = search.before[rivals] < search.before[own]
    wins: NDArray[np.bool_] = (theirs > ours) | ((theirs == ours) & before)
    return wins
