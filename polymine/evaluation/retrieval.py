"""Ranks and retrieval metrics of every query in every direction of languages.

trec_eval's metrics depend on nothing but the ranks at which documents of which grade stand. So no
ranking is ever sorted or stored: a relevant document's rank is one more than the number of
documents before it, counted in one matrix product per tile of queries and documents, for every
language of documents and for their pool at once. The alternative, rankings as dictionaries for 144
directions, is 40 million entries for XQuAD alone.

Memory is bounded by the tiles, whatever the corpus: its vectors are read where they lie and never
copied as a whole (`counting`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.counting import Pairs, Search, count_before
from polymine.evaluation.metrics import add_metrics
from polymine.mining.dense import UNIT
from polymine.mining.teachers import ArrayVectors, Scores, Vectors

CHECKED = 1 << 16  # vectors whose lengths are computed at once


def measure(
    collection: EvaluationCollection,
    queries: Scores | Vectors,
    documents: Scores | Vectors,
    *,
    name: str,
    k: int = 10,
    pooled: bool = True,
) -> pl.DataFrame:
    """Measure every query in every direction in which something is relevant to it.

    Args:
        collection: what was embedded.
        queries, documents: vectors (n, d), float32, in the order of the collection's rows, in
            memory or on disk: of unit length, or of all lengths for dot products.
        name: of the set.
        k: cut-off of nDCG, recall and MRR. MAP is over the first 1000 documents, or all of a
            smaller corpus.
        pooled: also rank the documents of all languages together, as document language `*`.

    Returns:
        `QueryScores`, by direction and query, metrics as trec_eval defines them; documents of equal
        score (float32) stand in descending order of their ids, as trec_eval puts them.

    Raises:
        InputError: vectors that are not these texts' or not finite; no query has a relevant
            document.
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
    queries: Scores | Vectors,
    documents: Scores | Vectors,
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
    search = _search(collection, queries, documents)
    if collection.relevant.is_empty():
        raise InputError(
            f"{name}: no query has a relevant document in any language; give judgments whose "
            "documents are in the corpus, or leave the set out"
        )
    asked = collection.queries.select("query_id").with_row_index("query")
    rows = collection.documents.select("doc_id", "language").with_row_index("document")
    pairs = collection.relevant.join(asked, on="query_id").join(rows, on="doc_id")
    return _rank(search, pairs.sort("query", "document"), rows, pooled)


def _rank(
    search: Search, relevant: pl.DataFrame, documents: pl.DataFrame, pooled: bool
) -> pl.DataFrame:
    """Rank what is relevant, a row per pair and pool: the columns of `rank_relevant`."""
    pairs = Pairs.of(search, relevant)
    languages = relevant["language"].to_numpy()
    in_language, in_all = np.zeros((2, relevant.height), dtype=np.int64)
    for (language,), part in documents.group_by("language", maintain_order=True):
        own, rivals = languages == language, part["document"].to_numpy().astype(np.int64)
        if not pooled:  # pairs of other languages are not compared with these documents
            in_language[own] = count_before(search, pairs.only(own), rivals)
            continue
        counted = count_before(search, pairs, rivals)
        in_language[own] = counted[own]
        in_all += counted
    found = relevant.select("query", "relevance", "language")
    ranks = [
        found.with_columns(document_language="language", rank=pl.Series(in_language + 1)),
        found.with_columns(document_language=pl.lit(POOL), rank=pl.Series(in_all + 1)),
    ]
    return pl.concat(ranks if pooled else ranks[:1])


def _search(
    collection: EvaluationCollection, queries: Scores | Vectors, documents: Scores | Vectors
) -> Search:
    """Check the vectors, and number queries and documents by their rows."""
    asked, found = (
        ArrayVectors(np.asarray(given, np.float32)) if isinstance(given, np.ndarray) else given
        for given in (queries, documents)
    )
    scale = _longest(asked, collection.queries["query_id"], "query", asked.dimension)
    scale *= _longest(found, collection.documents["doc_id"], "document", asked.dimension)
    place = collection.documents["doc_id"].rank("ordinal", descending=True)
    assert collection.hidden is not None
    hidden = collection.hidden.join(
        collection.queries.select("query_id").with_row_index("query"), on="query_id"
    ).join(collection.documents.select("doc_id").with_row_index("document"), on="doc_id")
    return Search(
        asked, found, place.to_numpy().astype(np.int64),
        hidden.select("query", "document").sort("query", "document"), scale,
    )  # fmt: skip


def _longest(vectors: Vectors, ids: pl.Series, what: str, dimension: int) -> float:
    """Check vectors; return the length of the longest, 1 of unit vectors."""
    if (len(vectors), vectors.dimension) != (len(ids), dimension):
        raise InputError(
            f"expected one {what} vector per {what}, shape ({len(ids)}, {dimension}), got "
            f"({len(vectors)}, {vectors.dimension}); embed the set's own {what} texts in their "
            "order"
        )
    starts = range(0, max(len(vectors), 1), CHECKED)
    tiles = (np.arange(start, min(start + CHECKED, len(vectors))) for start in starts)
    lengths = np.concatenate([np.linalg.norm(vectors.take(tile), axis=1) for tile in tiles])
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{len(wrong):,} {what} vectors are no numbers or all zeros, the first is row {first} "
            f"({ids[first]}) of length {lengths[first]:.3g}; look for overflow in half precision, "
            'and set `dtype = "float32"` for the model'
        )
    most = float(lengths.max(initial=0.0))
    return 1.0 if abs(most - 1) < UNIT else most
