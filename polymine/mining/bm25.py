"""BM25 as a teacher."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymine.mining.lexical import analyse
from polymine.mining.moments import FEWEST
from polymine.mining.teachers import Rows, Scores, Standard

RAREST = 64  # words of a document that stand for it when it is the query


class LexicalTeacher:
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) through bm25s.

    Args:
        name: column suffix.
        index: a bm25s index over all documents, in row order.
        queries: texts of the queries.
        documents: texts of the documents.
        candidates: rows that may be ranked, ascending; every document if None.
        languages: a number per document; all alike if None.
    """

    symmetric = False
    scale = 1.0

    def __init__(
        self,
        name: str,
        index: Any,
        queries: Sequence[str],
        documents: Sequence[str],
        candidates: Rows | None = None,
        languages: Rows | None = None,
    ) -> None:
        self.name = name
        self._index, self._queries, self._documents = index, queries, documents
        self._candidates = candidates
        count = len(documents)
        self._languages = np.zeros(count, dtype=np.int64) if languages is None else languages
        self._cached: tuple[int, Scores] | None = None
        self._moments: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def nearest(self, queries: Rows, count: int) -> tuple[Rows, Scores]:
        """Score the whole corpus per query and keep the best; zero scores are no candidates.

        Returns:
            Rows and scores, (n, count) each; a query with fewer candidates is padded with -1, -inf.
        """
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
        """Score the whole corpus for each query; zero scores are no candidates, as in `nearest`.

        Returns:
            A single tile: all candidates, ascending rows (m,), and float32 scores (n, m).
        """
        scores = np.stack([self._candidate_scores(int(query)) for query in queries])
        scores = np.where(scores > 0, scores, -np.inf).astype(np.float32)
        yield (np.arange(scores.shape[1]) if self._candidates is None else self._candidates), scores

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Look the pairs up in each query's scores.

        Args:
            queries, documents: rows, (n,) each. Wherever the query changes, the corpus is scored
                again, so the pairs of a query should stand together.

        Returns:
            BM25 scores, (n,), at least 0; 0 where no word is shared.
        """
        out = np.empty(len(queries), dtype=np.float32)
        edges = np.flatnonzero(np.diff(queries, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            query = int(queries[start])
            whole = self._scores(query)
            if query not in self._moments:  # while all scores of the query are at hand
                self._moments[query] = self._describe(whole)
            out[start:stop] = whole[documents[start:stop]]
        return out

    def standardise(self, queries: Rows, documents: Rows, scores: Scores) -> Standard:
        """Compare with all scores of the query, zeros included.

        Args:
            queries, documents, scores: (n,) each; pairs of a query together, as in `score`.

        Returns:
            z-scores, (n,); NaN for a query that scores all documents of a language alike.
        """
        out = np.empty(len(queries))
        edges = np.flatnonzero(np.diff(queries, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            query = int(queries[start])
            if query not in self._moments:
                self._moments[query] = self._describe(self._scores(query))
            mean, deviation = self._moments[query]
            place = self._languages[documents[start:stop]]
            out[start:stop] = (scores[start:stop] - mean[place]) / deviation[place]
        return out

    def standardise_among_queries(self, queries: Rows, documents: Rows) -> None:
        """Scores of two queries have no common scale."""
        return

    def compare(self, left: Rows, right: Rows) -> tuple[None, Standard]:
        """Let the 64 rarest words of a document be the query.

        Args:
            left, right: rows of documents, (n,) each; pairs of one `left` together, as in `score`.

        Returns:
            None, since BM25 has no scale that would make a similarity, and z-scores, (n,).
        """
        out = np.empty(len(left))
        edges = np.flatnonzero(np.diff(left, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            whole = self._of_words(self._rarest(int(left[start])))
            mean, deviation = self._describe(whole)
            others = right[start:stop]
            place = self._languages[others]
            out[start:stop] = (whole[others] - mean[place]) / deviation[place]
        return None, out

    def centroids(
        self, queries: Rows, groups: Rows, documents: Rows, weights: NDArray[np.float64]
    ) -> Scores:
        """Words have no centroid."""
        raise NotImplementedError

    def standardise_vectors(self, vectors: Scores, places: Rows, documents: Rows) -> Standard:
        """Words have no vectors."""
        raise NotImplementedError

    def _describe(self, whole: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of one query's scores of all documents, per language."""
        values = whole if self._candidates is None else whole[self._candidates]
        groups = self._languages if self._candidates is None else self._languages[self._candidates]
        values = values.astype(np.float64)
        size = int(self._languages.max(initial=0)) + 1
        counts = np.bincount(groups, minlength=size)
        totals = np.bincount(groups, values, minlength=size)
        squares = np.bincount(groups, values * values, minlength=size)
        few = counts < FEWEST  # such a language borrows the moments of all
        counts[few], totals[few], squares[few] = len(values), totals.sum(), squares.sum()
        means = totals / np.maximum(counts, 1)
        deviations = np.sqrt(np.maximum(squares / np.maximum(counts, 1) - means**2, 0))
        deviations[deviations < 1e-6] = np.nan
        return means, deviations

    def _rarest(self, document: int) -> list[int]:
        """Terms of a document by how few others hold them; the common ones say little, slowly."""
        # By the word and not by its number, which differs each time an index is built.
        numbers = self._index.vocab_dict
        held = [word for word in sorted(set(analyse(self._documents[document]))) if word in numbers]
        pointers = self._index.scores["indptr"]
        terms = [int(numbers[word]) for word in held]
        return sorted(terms, key=lambda term: int(pointers[term + 1] - pointers[term]))[:RAREST]

    def _scores(self, query: int) -> Scores:
        if self._cached is None or self._cached[0] != query:
            terms = self._index.get_tokens_ids(analyse(self._queries[query]))
            self._cached = (query, self._of_words(terms))
        return self._cached[1]

    def _of_words(self, terms: list[int]) -> Scores:
        if not terms:
            return np.zeros(self._index.scores["num_docs"], dtype=np.float32)
        return np.asarray(self._index.get_scores_from_ids(terms), dtype=np.float32)

    def _candidate_scores(self, query: int) -> Scores:
        scores = self._scores(query)
        return scores if self._candidates is None else scores[self._candidates]
