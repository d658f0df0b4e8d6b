"""Ranks and retrieval metrics of every query in every direction of languages.

trec_eval's metrics depend on nothing but the ranks at which documents of which grade stand. So no
ranking is ever sorted or stored: a relevant document's rank is one more than the number of
documents before it, counted in one matrix product per tile of queries, for every language of
documents and for their pool at once. The alternative, rankings as dictionaries for 144 directions,
is 40 million entries for XQuAD alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.metrics import add_metrics
from polymine.mining.dense import DenseTeacher
from polymine.mining.ranking import ROUNDING
from polymine.mining.teachers import ArrayVectors, Rows, Scores

TILE = 256  # queries whose cosines with all documents are in memory at once,
CELLS = 1 << 25  # unless the corpus is so large that these would be more than 128 MB
COMPARED = 1 << 22  # cosines that are compared at once: 16 MB, and three masks of 4 MB
LENGTH = 1e-2  # by how much a unit vector's length may be off: bfloat16 is no more exact


def measure(
    collection: EvaluationCollection,
    queries: Scores,
    documents: Scores,
    *,
    name: str,
    k: int = 10,
    pooled: bool = True,
) -> pl.DataFrame:
    """Measure every query in every direction in which something is relevant to it.

    Args:
        collection: what was embedded.
        queries, documents: unit vectors (n, d), float32, in the order of the collection's rows.
        name: of the set.
        k: cut-off of nDCG, recall and MRR. MAP is over the first 1000 documents, or all of a
            smaller corpus.
        pooled: also rank the documents of all languages together, as document language `*`.

    Returns:
        `QueryScores`, by direction and query, metrics as trec_eval defines them; documents of equal
        cosine (float32) stand in descending order of their ids, as trec_eval puts them.

    Raises:
        InputError: vectors that are not these texts', not finite or not of unit length; no query
            has a relevant document.
    """
    search = _Search.of(collection, queries, documents)
    ranks = [part for tile in search.tiles() for part in _rank_tile(search, tile, pooled)]
    if not ranks:
        raise InputError(
            f"{name}: no query has a relevant document in any language; give judgments whose "
            "documents are in the corpus, or leave the set out"
        )
    named = (
        add_metrics(pl.concat(ranks), k)
        .join(search.queries.select("query", "query_id", query_language="language"), on="query")
        .with_columns(set=pl.lit(name))
        .select(QueryScores.column_names())
        .sort(QueryScores.primary_key())
    )
    return QueryScores.validate(named, cast=True)


@dataclass(frozen=True)
class _Search:
    """Queries and documents, the latter by language and then descending id.

    Attributes:
        queries: query (row number), query_id, language.
        slices: first and last (exclusive) document per language, and of all (`*`).
        before: per document, its place among all by descending id: the lower wins a tie.
        pairs: query, document (row numbers), relevance, language: what is relevant, by query.
        hidden: query, document, by query.
    """

    queries: pl.DataFrame
    asked: Scores
    vectors: Scores
    slices: dict[str, tuple[int, int]]
    before: Rows
    pairs: pl.DataFrame
    hidden: pl.DataFrame

    @classmethod
    def of(cls, collection: EvaluationCollection, asked: Scores, documents: Scores) -> _Search:
        """Sort the documents."""
        _check(asked, collection.queries.height, "query", asked.shape[-1])
        _check(documents, collection.documents.height, "document", asked.shape[-1])
        rows = collection.documents.select("doc_id", "language").with_row_index("given")
        rows = rows.sort("language", "doc_id", descending=[False, True]).with_row_index("document")
        queries = collection.queries.select("query_id", "language").with_row_index("query")
        slices = {
            language: (start, stop + 1)
            for language, start, stop in rows.group_by("language")
            .agg(start=pl.col("document").min(), stop=pl.col("document").max())
            .iter_rows()
        }
        place = pl.col("doc_id").rank("ordinal", descending=True)
        pairs = collection.relevant.join(queries.drop("language"), on="query_id").join(
            rows, on="doc_id"
        )
        assert collection.hidden is not None
        hidden = collection.hidden.join(queries, on="query_id").join(rows, on="doc_id")
        return cls(
            queries,
            np.ascontiguousarray(asked, dtype=np.float32),
            np.ascontiguousarray(documents[rows["given"].to_numpy()], dtype=np.float32),
            {**slices, POOL: (0, rows.height)},
            rows.select(place)["doc_id"].to_numpy().astype(np.int64),
            pairs.select("query", "document", "relevance", "language").sort("query", "document"),
            hidden.select("query", "document").sort("query", "document"),
        )

    def tiles(self) -> Iterator[slice]:
        """Cut the queries into tiles."""
        size = min(TILE, max(1, CELLS // max(1, len(self.vectors))))
        for start in range(0, len(self.asked), size):
            yield slice(start, min(start + size, len(self.asked)))


def _rank_tile(search: _Search, tile: slice, pooled: bool) -> Iterator[pl.DataFrame]:
    """Rank the relevant documents of a tile's queries: query, document_language, rank, relevance.

    Only the cosines with all documents are made here, in one product; see `_ranks`.
    """
    inside = pl.col("query").is_between(tile.start, tile.stop, closed="left")
    pairs = search.pairs.filter(inside)
    if not pairs.height:
        return
    scores = search.asked[tile] @ search.vectors.T
    hidden = search.hidden.filter(inside)
    scores[hidden["query"].to_numpy() - tile.start, hidden["document"].to_numpy()] = -np.inf
    groups = [(str(key[0]), part) for key, part in pairs.group_by("language", maintain_order=True)]
    for language, part in groups + ([(POOL, pairs)] if pooled else []):
        yield part.select(
            "query",
            "relevance",
            document_language=pl.lit(language),
            rank=pl.Series(_ranks(search, scores, tile.start, part, search.slices[language])),
        )


def _ranks(
    search: _Search, scores: Scores, first: int, pairs: pl.DataFrame, among: tuple[int, int]
) -> Rows:
    """Count, for every pair, the documents of a slice that stand before its document.

    Products of blocks differ in their last bits with a block's size, so that equal vectors seem
    unlike: whatever is within rounding is compared by the score of the pair alone.
    """
    queries, documents = (pairs[name].to_numpy().astype(np.int64) for name in ("query", "document"))
    ranks = np.empty(len(queries), dtype=np.int64)
    step = max(1, COMPARED // (among[1] - among[0]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        rows, own = queries[part] - first, documents[part]
        block = scores[rows, among[0] : among[1]] - scores[rows, own][:, None]
        close = np.abs(block) <= ROUNDING
        close[np.arange(len(own)), own - among[0]] = False
        ranks[part] = 1 + np.count_nonzero(block > ROUNDING, axis=1)
        places, columns = np.nonzero(close)
        wins = _wins(search, queries[part][places], columns + among[0], own[places])
        np.add.at(ranks[part], places[wins], 1)
    return ranks


def _wins(search: _Search, queries: Rows, rivals: Rows, own: Rows) -> NDArray[np.bool_]:
    """Tell which rivals stand before a query's own document, pair by pair."""
    teacher = DenseTeacher("model", ArrayVectors(search.asked), ArrayVectors(search.vectors))
    theirs, ours = teacher.score(queries, rivals), teacher.score(queries, own)
    before: NDArray[np.bool_] = search.before[rivals] < search.before[own]
    wins: NDArray[np.bool_] = (theirs > ours) | ((theirs == ours) & before)
    return wins


def _check(vectors: Scores, rows: int, what: str, dimension: int) -> None:
    if vectors.shape != (rows, dimension):
        raise InputError(
            f"expected one {what} vector per {what}, shape ({rows}, {dimension}), got "
            f"{vectors.shape}; embed the set's own {what} texts in their order"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH))  # NaN is wrong as well
    if len(wrong):
        raise InputError(
            f"expected unit vectors, got {len(wrong)} {what} vectors of another length, the first "
            f"is row {wrong[0]} of length {lengths[wrong[0]]:.3g}; normalise them, and look for "
            "overflow in half precision if the length is not finite"
        )
