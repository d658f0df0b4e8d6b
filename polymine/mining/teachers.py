"""Teachers rank and score documents for queries, behind one small protocol.

All work on row numbers: documents are sorted by doc_id, so the lower row wins a tie. A score is a
function of its query and document alone: candidates come from fast block arithmetic (FAISS, BLAS),
whose last bits depend on block sizes and threads, and are then scored again pair by pair in one
fixed order, so that no shard or thread count shows in a result.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from polymine.mining.lexical import analyse

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

PAIR_CHUNK = 1 << 12  # pairs scored at once: two gathers of 6 MB at d = 384 stay in the cache
MOMENT_BLOCK = 1 << 16  # fixed, so that the mean has the same bits whatever the tile setting


class Vectors(Protocol):
    """Rows of unit vectors, in memory or on disk."""

    def __len__(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    def take(self, rows: Rows) -> Scores:
        """Return the vectors of `rows`, shape (len(rows), dimension), float32."""
        ...


class Teacher(Protocol):
    """A model that tells how well documents fit queries; higher is better."""

    name: str

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Find about the best `count` candidates per query, unsorted: (n, k), -1 pads."""
        ...

    def blocks(self, queries: Rows) -> Iterator[tuple[Rows, Scores]]:
        """Score every candidate document for a few queries: tiles of (rows, (n, len(rows))).

        -inf stands for a document that is no candidate for a query.
        """
        ...

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Score pairs, shape (n,), with the same bits in whatever company."""
        ...

    def moments(self, queries: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each query's scores over all candidate documents."""
        ...

    def similarity(self, left: Rows, right: Rows) -> Scores | None:
        """Compare documents with documents, shape (n,), or None if this teacher cannot."""
        ...


class ArrayVectors:
    """Vectors held in memory, shape (n, d)."""

    def __init__(self, matrix: Scores) -> None:
        self._matrix = matrix

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def dimension(self) -> int:
        """Components per vector."""
        return int(self._matrix.shape[1])

    def take(self, rows: Rows) -> Scores:
        """Return the vectors of `rows`."""
        return self._matrix[rows]


class DenseTeacher:
    """Cosine similarity of unit vectors.

    Args:
        name: column suffix.
        queries, documents: their vectors, unit length.
        candidates: rows that may be ranked, ascending; every document if None.
        tile: documents in memory at once.
    """

    def __init__(
        self,
        name: str,
        queries: Vectors,
        documents: Vectors,
        candidates: Rows | None = None,
        tile: int = 65_536,
    ) -> None:
        self.name = name
        self._queries, self._documents, self._tile = queries, documents, tile
        self._candidates = np.arange(len(documents)) if candidates is None else candidates
        self._moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Search tile by tile with FAISS, keeping a running best."""
        import faiss

        vectors = self._queries.take(queries)
        rows = np.full((len(queries), count), -1, dtype=np.int64)
        scores = np.full((len(queries), count), -np.inf, dtype=np.float32)
        for tile in self._tiles(self._tile):
            found_scores, found = faiss.knn(
                vectors,
                self._documents.take(tile),
                min(count, len(tile)),
                metric=faiss.METRIC_INNER_PRODUCT,
            )
            if len(tile) == len(self._candidates):
                return tile[found], found_scores
            rows, scores = _merge(rows, scores, tile[found], found_scores)
        return rows, scores

    def blocks(self, queries: Rows) -> Iterator[tuple[Rows, Scores]]:
        """Multiply query vectors with one tile of documents after the other."""
        vectors = self._queries.take(queries)
        for tile in self._tiles(self._tile):
            yield tile, vectors @ self._documents.take(tile).T

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Dot products, pair by pair."""
        return _pairwise(self._queries, queries, self._documents, documents)

    def similarity(self, left: Rows, right: Rows) -> Scores:
        """Dot products of document vectors, pair by pair."""
        return _pairwise(self._documents, left, self._documents, right)

    def moments(self, queries: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean q.mu and variance q'Sigma q: exact, without a pass over the corpus per query."""
        if self._moments is None:
            self._moments = self._corpus_moments()
        mean, covariance = self._moments
        vectors = self._queries.take(queries).astype(np.float64)
        variance = np.einsum("ij,jk,ik->i", vectors, covariance, vectors, optimize=True)
        return vectors @ mean, np.sqrt(np.maximum(variance, 1e-12))

    def _corpus_moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total = np.zeros(self._documents.dimension)
        squares = np.zeros((self._documents.dimension,) * 2)
        for tile in self._tiles(MOMENT_BLOCK):
            vectors = self._documents.take(tile).astype(np.float64)
            total += vectors.sum(axis=0)
            squares += vectors.T @ vectors
        count = max(len(self._candidates), 1)  # languages may leave no candidate at all
        mean = total / count
        return mean, squares / count - np.outer(mean, mean)

    def _tiles(self, size: int) -> Iterator[Rows]:
        for start in range(0, len(self._candidates), size):
            yield self._candidates[start : start + size]


class LexicalTeacher:
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) through bm25s.

    Args:
        name: column suffix.
        index: a bm25s index over all documents, in row order.
        queries: texts of the queries.
        candidates: rows that may be ranked, ascending; every document if None.
    """

    def __init__(
        self, name: str, index: Any, queries: list[str], candidates: Rows | None = None
    ) -> None:
        self.name = name
        self._index, self._queries = index, queries
        self._candidates = candidates
        self._cached: tuple[int, Scores] | None = None

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Score the whole corpus per query and keep the best; zero scores are no candidates."""
        rows = np.full((len(queries), count), -1, dtype=np.int64)
        best = np.full((len(queries), count), -np.inf, dtype=np.float32)
        for place, query in enumerate(queries):
            scores = self._candidate_scores(int(query))
            found = np.flatnonzero(scores > 0)
            if len(found) > count:
                found = found[np.argpartition(-scores[found], count - 1)[:count]]
            rows[place, : len(found)] = (
                found if self._candidates is None else self._candidates[found]
            )
            best[place, : len(found)] = scores[found]
        return rows, best

    def blocks(self, queries: Rows) -> Iterator[tuple[Rows, Scores]]:
        """Score the whole corpus for each query; zero scores are no candidates, as in `nearest`."""
        scores = np.stack([self._candidate_scores(int(query)) for query in queries])
        scores = np.where(scores > 0, scores, -np.inf).astype(np.float32)
        yield (np.arange(scores.shape[1]) if self._candidates is None else self._candidates), scores

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Look the pairs up in each query's scores; pairs of one query best stand together."""
        out = np.empty(len(queries), dtype=np.float32)
        edges = np.flatnonzero(np.diff(queries, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            out[start:stop] = self._scores(int(queries[start]))[documents[start:stop]]
        return out

    def moments(self, queries: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of each query's scores, zeros included."""
        scores = [self._candidate_scores(int(query)).astype(np.float64) for query in queries]
        mean = np.array([row.mean() for row in scores])
        return mean, np.array([max(float(row.std()), 1e-6) for row in scores])

    def similarity(self, left: Rows, right: Rows) -> Scores | None:
        """BM25 is not symmetric; it compares no documents."""
        return None

    def _scores(self, query: int) -> Scores:
        if self._cached is None or self._cached[0] != query:
            known = self._index.get_tokens_ids(analyse(self._queries[query]))
            if known:
                scores = np.asarray(self._index.get_scores_from_ids(known), dtype=np.float32)
            else:
                scores = np.zeros(self._index.scores["num_docs"], dtype=np.float32)
            self._cached = (query, scores)
        return self._cached[1]

    def _candidate_scores(self, query: int) -> Scores:
        scores = self._scores(query)
        return scores if self._candidates is None else scores[self._candidates]


def _pairwise(left: Vectors, left_rows: Rows, right: Vectors, right_rows: Rows) -> Scores:
    out = np.empty(len(left_rows), dtype=np.float32)
    for start in range(0, len(out), PAIR_CHUNK):
        part = slice(start, start + PAIR_CHUNK)
        out[part] = np.einsum(
            "ij,ij->i", left.take(left_rows[part]), right.take(right_rows[part]), optimize=False
        )
    return out


def _merge(rows: Rows, scores: Scores, new_rows: Rows, new_scores: Scores) -> tuple[Rows, Scores]:
    """Keep the best of both, as many columns as `rows` has."""
    count = rows.shape[1]
    all_rows, all_scores = np.hstack([rows, new_rows]), np.hstack([scores, new_scores])
    best = np.argpartition(-all_scores, count - 1, axis=1)[:, :count]
    return np.take_along_axis(all_rows, best, 1), np.take_along_axis(all_scores, best, 1)
