"""Dense teachers: dot products of stored vectors, searched exactly with FAISS.

Of unit vectors they are cosines. Other lengths count: models that were made for dot products.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from polymine.mining.moments import FEWEST, Moments
from polymine.mining.teachers import ArrayVectors, Rows, Scores, Standard, Vectors

UNIT = 1e-2  # by how much a unit vector's length may be off: bfloat16 is no more exact
PAIR_CHUNK = 1 << 12  # pairs scored at once: two gathers of 6 MB at d = 384 stay in the cache


class DenseTeacher:
    """Dot products of vectors, cosines if they have unit length.

    Args:
        name: column suffix.
        queries, documents: their vectors.
        candidates: rows that may be ranked, ascending; every document if None.
        tile: documents in memory at once.
        query_languages, languages: a number per query and per document; all alike if None.
        scale: largest product of a query's and a document's length.
    """

    symmetric = True

    def __init__(
        self,
        name: str,
        queries: Vectors,
        documents: Vectors,
        candidates: Rows | None = None,
        tile: int = 65_536,
        query_languages: Rows | None = None,
        languages: Rows | None = None,
        scale: float = 1.0,
    ) -> None:
        self.name, self.scale = name, scale
        self._queries, self._documents, self._tile = queries, documents, tile
        self._candidates = np.arange(len(documents)) if candidates is None else candidates
        self._query_languages = _languages(query_languages, len(queries))
        self._languages = _languages(languages, len(documents))
        self._corpus = Moments(documents, self._candidates, self._languages)
        self._asked = Moments(queries, np.arange(len(queries)), self._query_languages)

    def among(self, candidates: Rows) -> "DenseTeacher":
        """Restrict the same teacher to other candidates.

        Args:
            candidates: rows of documents that may be ranked, ascending.

        Returns:
            A teacher over the same vectors; its z-scores are over these candidates, too.
        """
        return DenseTeacher(
            self.name,
            self._queries,
            self._documents,
            candidates,
            self._tile,
            self._query_languages,
            self._languages,
            self.scale,
        )

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Search tile by tile with FAISS, keeping a running best.

        Returns:
            Rows and cosines, (n, k) each. k is `count`, or the number of candidates where one tile
            holds them all; otherwise missing ones are padded with -1, -inf.
        """
        import faiss

        vectors = self._queries.take(queries)
        rows = np.full((len(queries), count), -1, dtype=np.int64)
        scores = np.full((len(queries), count), -np.inf, dtype=np.float32)
        for tile in self._tiles(self._tile):
            documents = self._documents.take(tile)
            with _by_matrix_product():
                found_scores, found = faiss.knn(
                    vectors, documents, min(count, len(tile)), metric=faiss.METRIC_INNER_PRODUCT
                )
            if len(tile) == len(self._candidates):
                return tile[found], found_scores
            rows, scores = _merge(rows, scores, tile[found], found_scores)
        return rows, scores

    def blocks(self, queries: Rows) -> Iterator[tuple[Rows, Scores]]:
        """Multiply query vectors with one tile of documents after the other.

        Returns:
            Ascending rows (m,) and cosines (n, m) per tile, m at most the tile's size.
        """
        vectors = self._queries.take(queries)
        for tile in self._tiles(self._tile):
            yield tile, vectors @ self._documents.take(tile).T

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Dot products, pair by pair."""
        return _pairwise(self._queries, queries, self._documents, documents)

    def compare(self, left: Rows, right: Rows) -> tuple[Scores, Standard]:
        """Multiply document vectors with document vectors.

        Returns:
            Cosines, float32, and their z-scores over the documents in the language of `right`.
        """
        similar = _pairwise(self._documents, left, self._documents, right)
        z = self._corpus.standardise(self._documents, left, self._languages[right], similar)
        return similar, z

    def standardise(self, queries: Rows, documents: Rows, scores: Scores) -> Standard:
        """Compare with all candidates of the document's language: exact, and no pass (`Moments`).

        Returns:
            z-scores, (n,); NaN where all candidates score alike.
        """
        languages = self._languages[documents]
        return self._corpus.standardise(self._queries, queries, languages, scores)

    def standardise_among_queries(self, queries: Rows, documents: Rows) -> Standard:
        """Compare a pair's score with those of all queries of its language, by their moments.

        Returns:
            z-scores, (n,); NaN for fewer than 10 queries in all.
        """
        if len(self._asked) < FEWEST:
            return np.full(len(queries), np.nan)
        scores = self.score(queries, documents)
        languages = self._query_languages[queries]
        return self._asked.standardise(self._documents, documents, languages, scores)

    def centroids(
        self, queries: Rows, groups: Rows, documents: Rows, weights: NDArray[np.float64]
    ) -> Scores:
        """Add up the vectors of each query and its documents in float64, then scale to length 1."""
        sums = self._queries.take(queries).astype(np.float64)
        order = np.argsort(groups, kind="stable")
        for start in range(0, len(order), PAIR_CHUNK):
            part = order[start : start + PAIR_CHUNK]
            vectors = self._documents.take(documents[part]) * weights[part, None]
            np.add.at(sums, groups[part], vectors)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return sums.astype(np.float32)

    def standardise_vectors(self, vectors: Scores, places: Rows, documents: Rows) -> Standard:
        """Dot products with documents as z-scores."""
        given = ArrayVectors(vectors)
        scores = _pairwise(given, places, self._documents, documents)
        return self._corpus.standardise(given, places, self._languages[documents], scores)

    def _tiles(self, size: int) -> Iterator[Rows]:
        for start in range(0, len(self._candidates), size):
            yield self._candidates[start : start + size]


@contextmanager
def _by_matrix_product() -> Iterator[None]:
    """Let FAISS multiply matrices for few queries, too.

    By itself it does so from 128,000 components of all queries together (333 queries of 384), and
    goes pair by pair below, ten times slower (docs/LOG.md).
    """
    import faiss

    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def longest(vectors: Vectors) -> float:
    """Find the largest length of some vectors.

    Returns:
        It, or 1 where all of the first vectors have unit length.
    """

    def lengths(first: int) -> Scores:
        rows = np.arange(first, min(first + PAIR_CHUNK, len(vectors)))
        found: Scores = np.linalg.norm(vectors.take(rows), axis=1)
        return found

    if np.all(np.abs(lengths(0) - 1) < UNIT):  # they are for cosines
        return 1.0
    return max(float(lengths(at).max()) for at in range(0, len(vectors), PAIR_CHUNK))


def _languages(numbers: Rows | None, count: int) -> Rows:
    return np.zeros(count, dtype=np.int64) if numbers is None else numbers


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
