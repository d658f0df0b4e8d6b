"""Ranks and retrieval metrics of every query in every direction of languages.

trec_eval's metrics depend on nothing but the ranks at which documents of which grade stand. So no
ranking is ever sorted or stored: a relevant document's rank is one more than the number of
documents before it, counted in one matrix product per tile of queries and documents, for every
language of documents and for their pool at once. The alternative, rankings as dictionaries for 144
directions, is 40 million entries for XQuAD alone.

Memory is bounded by the tiles, whatever the corpus: its vectors are read where they lie and never
copied as a whole. Tiles are multiplied and compared on a GPU where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.metrics import add_metrics
from polymine.mining.dense import DenseTeacher
from polymine.mining.ranking import ROUNDING
from polymine.mining.teachers import ArrayVectors, Rows, Scores

if TYPE_CHECKING:
    from torch import Tensor

TILE = 256  # queries whose cosines are in memory at once,
DOCUMENTS = 1 << 17  # with so many documents: 128 MB
COMPARED = 1 << 22  # cosines that are compared at once: 16 MB and a mask
CHECKED = 1 << 16  # vectors whose lengths are computed at once
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
    ranks = rank_relevant(collection, queries, documents, name=name, pooled=pooled)
    asked = collection.queries.with_row_index("query")
    named = (
        add_metrics(ranks, k)
        .join(asked.select("query", "query_id", query_language="language"), on="query")
        .with_columns(set=pl.lit(name))
        .select(QueryScores.column_names())
        .sort(QueryScores.primary_key())
    )
    return QueryScores.validate(named, cast=True)


def rank_relevant(
    collection: EvaluationCollection,
    queries: Scores,
    documents: Scores,
    *,
    name: str,
    pooled: bool = True,
) -> pl.DataFrame:
    """Find the rank of every relevant document.

    Args:
        collection, queries, documents, name, pooled: as of `measure`, which may raise the same.

    Returns:
        query (row number), document_language (`*`: among the documents of all languages), rank
        (from 1), relevance, and language, which is the document's own.
    """
    search = _Search.of(collection, queries, documents)
    if not search.pairs.height:
        raise InputError(
            f"{name}: no query has a relevant document in any language; give judgments whose "
            "documents are in the corpus, or leave the set out"
        )
    return _rank(search, pooled)


@dataclass(frozen=True)
class _Search:
    """Queries and documents, as they were given.

    Attributes:
        queries: query (row number), query_id, language.
        slices: rows of the documents of each language.
        before: per document, its place among all by descending id: the lower wins a tie.
        pairs: query, document (row numbers), relevance, language: what is relevant, by query.
        hidden: query, document, by query.
    """

    queries: pl.DataFrame
    asked: Scores
    vectors: Scores
    slices: dict[str, Rows]
    before: Rows
    pairs: pl.DataFrame
    hidden: pl.DataFrame

    @classmethod
    def of(cls, collection: EvaluationCollection, asked: Scores, documents: Scores) -> _Search:
        """Number queries and documents by their rows."""
        _check(asked, collection.queries.height, "query", asked.shape[-1])
        _check(documents, collection.documents.height, "document", asked.shape[-1])
        rows = collection.documents.select("doc_id", "language").with_row_index("document")
        queries = collection.queries.select("query_id", "language").with_row_index("query")
        pairs = collection.relevant.join(queries.drop("language"), on="query_id").join(
            rows, on="doc_id"
        )
        assert collection.hidden is not None
        hidden = collection.hidden.join(queries, on="query_id").join(rows, on="doc_id")
        place = rows["doc_id"].rank("ordinal", descending=True)
        return cls(
            queries,
            np.asarray(asked, dtype=np.float32),
            np.asarray(documents, dtype=np.float32),
            {
                str(language): part["document"].to_numpy().astype(np.int64)
                for (language,), part in rows.group_by("language", maintain_order=True)
            },
            place.to_numpy().astype(np.int64),
            pairs.select("query", "document", "relevance", "language").sort("query", "document"),
            hidden.select("query", "document").sort("query", "document"),
        )

    def score(self, queries: Rows, documents: Rows) -> Scores:
        """Score pairs, each by itself: see `DenseTeacher`."""
        teacher = DenseTeacher("model", ArrayVectors(self.asked), ArrayVectors(self.vectors))
        return teacher.score(queries, documents)


@dataclass(frozen=True)
class _Pairs:
    """Relevant pairs by query: row numbers and their own scores, (pairs,) each."""

    queries: Rows
    documents: Rows
    scores: Scores

    def within(self, first: int, last: int) -> slice:
        """Say which pairs are of the queries from `first` to `last` (exclusive)."""
        start, stop = np.searchsorted(self.queries, [first, last])
        return slice(int(start), int(stop))


def _rank(search: _Search, pooled: bool) -> pl.DataFrame:
    """Rank what is relevant, a row per pair and pool: the columns of `rank_relevant`."""
    rows = (search.pairs[name].to_numpy().astype(np.int64) for name in ("query", "document"))
    queries, documents = rows
    pairs = _Pairs(queries, documents, search.score(queries, documents))
    languages = search.pairs["language"].to_numpy()
    in_language, in_all = np.zeros((2, len(queries)), dtype=np.int64)
    for language, rivals in search.slices.items():
        own = languages == language
        if not pooled:  # pairs of other languages are not compared with these documents
            chosen = _Pairs(queries[own], documents[own], pairs.scores[own])
            in_language[own] = _count(search, chosen, rivals)
            continue
        counted = _count(search, pairs, rivals)
        in_language[own] = counted[own]
        in_all += counted
    found = search.pairs.select("query", "relevance", "language")
    ranks = [
        found.with_columns(document_language="language", rank=pl.Series(in_language + 1)),
        found.with_columns(document_language=pl.lit(POOL), rank=pl.Series(in_all + 1)),
    ]
    return pl.concat(ranks if pooled else ranks[:1])


def _count(search: _Search, pairs: _Pairs, rivals: Rows) -> Rows:
    """Count, for every pair, which of some documents stand before its own."""
    import torch

    device = models.visible_devices()[0]
    counts = np.zeros(len(pairs.queries), dtype=np.int64)
    for start in range(0, len(rivals), DOCUMENTS):
        tile = rivals[start : start + DOCUMENTS]
        vectors = torch.from_numpy(search.vectors[tile]).to(device)
        for first in range(0, len(search.asked), TILE):
            part = pairs.within(first, first + TILE)
            if part.stop > part.start:
                asked = torch.from_numpy(search.asked[first : first + TILE]).to(device)
                scores = _without_hidden(search, asked @ vectors.T, first, tile)
                counts[part] += _count_tile(search, pairs, part, scores, first, tile)
    return counts


def _without_hidden(search: _Search, scores: Tensor, first: int, tile: Rows) -> Tensor:
    """Put hidden pairs of a tile behind all others."""
    inside = pl.col("query").is_between(first, first + len(scores), closed="left")
    hidden = search.hidden.filter(inside & pl.col("document").is_in(pl.Series(tile).implode()))
    if hidden.height:
        column = np.searchsorted(tile, hidden["document"].to_numpy())
        scores[hidden["query"].to_numpy().astype(np.int64) - first, column] = -np.inf
    return scores


def _count_tile(
    search: _Search, pairs: _Pairs, part: slice, scores: Tensor, first: int, tile: Rows
) -> Rows:
    """Count documents of a tile, (documents ascending), before those of some pairs.

    Products of blocks differ in their last bits with a block's size, so that equal vectors seem
    unlike: whatever is within rounding is compared by the score of the pair alone.
    """
    import torch

    counts = np.empty(part.stop - part.start, dtype=np.int64)
    step = max(1, COMPARED // len(tile))
    for start in range(part.start, part.stop, step):
        some = slice(start, min(start + step, part.stop))
        queries, own = pairs.queries[some], pairs.documents[some]
        rows = torch.from_numpy(queries - first).to(scores.device)
        scored = torch.from_numpy(pairs.scores[some]).to(scores.device)[:, None]
        block = scores[rows] - scored
        above = (block > ROUNDING).sum(1).cpu().numpy()
        close = (block >= -ROUNDING).sum(1).cpu().numpy() - above
        itself = tile[np.minimum(np.searchsorted(tile, own), len(tile) - 1)] == own
        unsure = np.flatnonzero(close > itself)
        places, columns = (
            (block[torch.from_numpy(unsure).to(scores.device)].abs() <= ROUNDING)
            .nonzero(as_tuple=True)
        )  # fmt: skip
        places, rival = unsure[places.cpu().numpy()], tile[columns.cpu().numpy()]
        other = rival != own[places]
        wins = _wins(search, queries[places[other]], rival[other], own[places[other]])
        np.add.at(above, places[other][wins], 1)
        counts[start - part.start : some.stop - part.start] = above
    return counts


def _wins(search: _Search, queries: Rows, rivals: Rows, own: Rows) -> NDArray[np.bool_]:
    """Tell which rivals stand before a query's own document, pair by pair."""
    theirs, ours = search.score(queries, rivals), search.score(queries, own)
    before: NDArray[np.bool_] = search.before[rivals] < search.before[own]
    wins: NDArray[np.bool_] = (theirs > ours) | ((theirs == ours) & before)
    return wins


def _check(vectors: Scores, rows: int, what: str, dimension: int) -> None:
    if vectors.shape != (rows, dimension):
        raise InputError(
            f"expected one {what} vector per {what}, shape ({rows}, {dimension}), got "
            f"{vectors.shape}; embed the set's own {what} texts in their order"
        )
    starts = range(0, max(len(vectors), 1), CHECKED)
    lengths = np.concatenate(
        [np.linalg.norm(vectors[start : start + CHECKED], axis=1) for start in starts]
    )
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH))  # NaN is wrong as well
    if len(wrong):
        raise InputError(
            f"expected unit vectors, got {len(wrong)} {what} vectors of another length, the first "
            f"is row {wrong[0]} of length {lengths[wrong[0]]:.3g}; normalise them, and look for "
            "overflow in half precision if the length is not finite"
        )
