"""Teachers rank and score documents for queries, behind one small protocol.

All work on row numbers: documents are sorted by doc_id, so the lower row wins a tie. A score is a
function of its query and document alone: candidates come from fast block arithmetic (FAISS, BLAS),
whose last bits depend on block sizes and threads, and are then scored again pair by pair in one
fixed order, so that no shard or thread count shows in a result.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
Standard = NDArray[np.float64]  # z-scores; NaN where there is nothing to compare with


class Vectors(Protocol):
    """Rows of vectors, in memory or on disk; of unit length where cosines are compared."""

    def __len__(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    def take(self, rows: Rows) -> Scores:
        """Return the vectors of `rows`, in any order, shape (len(rows), dimension), float32."""
        ...


class Teacher(Protocol):
    """A model that tells how well documents fit queries; higher is better."""

    name: str
    scale: float
    """Largest product of two vectors' lengths: fast arithmetic errs in proportion to it."""

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Find about the best candidates per query; fast arithmetic may swap neighbours.

        Args:
            queries: rows, (n,).
            count: candidates per query.

        Returns:
            Rows and scores, (n, k) each, unsorted. k is `count`, or less where there are no more
            candidates; -1 pads.
        """
        ...

    def blocks(self, queries: Rows) -> Iterator[tuple[Rows, Scores]]:
        """Score every candidate document for a few queries, tile by tile.

        Args:
            queries: rows, (n,).

        Returns:
            Rows of documents, (m,) ascending, and scores, (n, m), per tile; -inf for a document
            that is no candidate for a query.
        """
        ...

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Score pairs, batch-invariant: the bits of a score depend on its pair alone.

        Args:
            queries, documents: rows, (n,) each.

        Returns:
            float32, (n,), finite; higher is better.
        """
        ...

    def standardise(self, queries: Rows, documents: Rows, scores: Scores) -> Standard:
        """Compare the scores of pairs with those of all documents in the document's language.

        Args:
            queries, documents: rows, (n,) each.
            scores: of these pairs, as from `score`.

        Returns:
            z-scores, (n,).
        """
        ...

    def standardise_among_queries(self, queries: Rows, documents: Rows) -> Standard | None:
        """Compare the scores of pairs with those of all queries in the query's language.

        Args:
            queries, documents: rows, (n,) each.

        Returns:
            z-scores, (n,), NaN where there are too few queries; None if the scores of two queries
            have no common scale.
        """
        ...

    @property
    def symmetric(self) -> bool:
        """Whether documents can be compared with documents as queries are: `centroids` works."""
        ...

    def compare(self, left: Rows, right: Rows) -> tuple[Scores | None, Standard]:
        """Let documents take a query's place.

        Args:
            left, right: rows of documents, (n,) each, `left` as queries. Fastest with the pairs of
                one `left` together.

        Returns:
            Similarities, (n,), None if the teacher is not symmetric; and z-scores, (n,), over the
            documents in the language of `right`.
        """
        ...

    def centroids(
        self, queries: Rows, groups: Rows, documents: Rows, weights: NDArray[np.float64]
    ) -> Scores:
        """Compute unit vectors of each query plus its weighted documents.

        Args:
            queries: rows, (n,).
            groups: to which position in `queries` each document belongs, (m,).
            documents, weights: rows and what each counts beside the query's 1, (m,) each.

        Returns:
            float32, (n, d).
        """
        ...

    def standardise_vectors(self, vectors: Scores, places: Rows, documents: Rows) -> Standard:
        """Compare vectors with documents, as `standardise` does queries.

        Args:
            vectors: (v, d), such as centroids.
            places, documents: position in `vectors` and row of a document, (n,) each.

        Returns:
            z-scores, (n,).
        """
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
