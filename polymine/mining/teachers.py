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

    def standardise(self, queries: Rows, documents: Rows, scores: Scores) -> Standard:
        """Turn the scores of pairs into z-scores over the documents of the document's language."""
        ...

    def standardise_among_queries(self, queries: Rows, documents: Rows) -> Standard | None:
        """Give z-scores over the queries of the query's language; None without a common scale.

        NaN where there are too few queries.
        """
        ...

    @property
    def symmetric(self) -> bool:
        """Whether documents can be compared with documents as queries are: `centroids` works."""
        ...

    def compare(self, left: Rows, right: Rows) -> tuple[Scores | None, Standard]:
        """Let documents `left` take a query's place: similarity (if symmetric) and z-score.

        Fastest with pairs of one `left` standing together.
        """
        ...

    def centroids(
        self, queries: Rows, groups: Rows, documents: Rows, weights: NDArray[np.float64]
    ) -> Scores:
        """Unit vectors of each query plus its weighted documents, shape (len(queries), d).

        `groups` says to which position in `queries` each of `documents` belongs.
        """
        ...

    def standardise_vectors(self, vectors: Scores, places: Rows, documents: Rows) -> Standard:
        """Give z-scores of `vectors[places]` with documents."""
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
