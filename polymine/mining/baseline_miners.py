"""Negatives found in two ways that are not Polymine's, to train on in comparison.

Both give triplets of the form Polymine's own have. Random documents are drawn query by query;
alternative not taken: a random key per query and document, which a million of each do not allow.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.export import build_triplets
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.library_miner import check_options, mine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Numbers = NDArray[np.int64]

_NO_SCORE = pl.lit(0.0, pl.Float32)


def random_triplets(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    closure: pl.DataFrame,
    *,
    negatives: int,
    seed: int,
    most: int | None = None,
) -> pl.DataFrame:
    """Give every query `negatives` documents at random, all equally likely, none of them closed.

    Drawn without replacement from what is open to the query, in a random order. The random number
    behind a draw is made of seed, query_id and number of the draw alone, so neither the order of
    rows nor other queries matter. A query to which fewer documents are open gets all of them.

    Args:
        documents, queries, judgments, closure: of these contracts; what a query or document names
            that is not in its table is passed over. Known positives are closed in any case.
        most: positives of a query that triplets are made of, as in `build_triplets`.

    Returns:
        Contract Triplets, by query_id, positive_id, position; weight 1. All positives of a query
        have the same negatives. Nothing was scored: both scores are 0.0, which says nothing.
    """
    pairs = _find_pairs(documents, queries, judgments)
    closed = pl.concat([table.select("query_id", "doc_id") for table in (closure, pairs)]).unique()
    asked = pairs["query_id"].unique().sort()
    drawn = _draw_open(asked, documents["doc_id"].sort(), closed, negatives, seed)
    scored, known = (table.with_columns(score=_NO_SCORE) for table in (drawn, pairs))
    return _write_out(scored, known, queries, documents, most, seed)


def library_triplets(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    encoder: "SentenceTransformer",
    *,
    negatives: int,
    options: Mapping[str, Any],
    seed: int = 0,
    most: int | None = None,
) -> pl.DataFrame:
    """Let sentence-transformers' `mine_hard_negatives` find negatives, as its users call it.

    It is given the known pairs as texts and the corpus, and what it returns is left as it is: it
    knows no closure, so copies and translations of a positive may be among the negatives. It works
    on texts: of documents, or of known pairs, with the same texts the one with the smallest ids
    stands for all, and queries of one text count as one query with all their positives.

    Args:
        options: arguments of LibraryOptions; values as they are or as text, such as "0.05".
        seed: of `sampling_strategy = "random"`, which else draws nothing, and of `most`.
        most: positives of a query that triplets are made of, as in `build_triplets`. The library
            knows all of them, so that none becomes a negative.

    Returns:
        Contract Triplets, by query_id, positive_id, position, which follows the library's order;
        weight 1; scores are its own similarities. A query for which it finds nothing has no row.

    Raises SettingsError for an option that is not there, of another type or out of range.
    """
    chosen = check_options(options, negatives)
    pairs = (
        _find_pairs(documents, queries, judgments)
        .join(queries.select("query_id", anchor="text"), on="query_id")
        .join(documents.select("doc_id", positive="text"), on="doc_id")
        .sort("query_id", "doc_id")
    )
    corpus = documents.select("doc_id", negative="text").sort("doc_id")
    corpus = corpus.unique("negative", keep="first", maintain_order=True)
    mined = mine(pairs, corpus["negative"].to_list(), encoder, chosen, negatives, seed)
    found, positives = _give_ids(mined, pairs, corpus)
    return _write_out(found, positives, queries, documents, most, seed)


def _give_ids(
    mined: pl.DataFrame, pairs: pl.DataFrame, corpus: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Negatives with position, and positives: both with query_id, doc_id, score.

    All positives of a query have the same negatives in the same order, as the library mines them.
    """
    known = pairs.unique(["anchor", "positive"], keep="first", maintain_order=True)
    rows = mined.join(known, on=["anchor", "positive"], maintain_order="left").select(
        "query_id", "negative", "scores", positive_id="doc_id"
    )
    rows = rows.join(corpus, on="negative", maintain_order="left").with_columns(
        position=pl.int_range(1, pl.len() + 1).over("query_id", "positive_id").cast(pl.UInt32)
    )
    found = rows.unique(["query_id", "doc_id"], keep="first").select(
        "query_id", "doc_id", "position", score=pl.col("scores").list.get(1)
    )
    positives = rows.unique(["query_id", "positive_id"], keep="first").select(
        "query_id", doc_id="positive_id", score=pl.col("scores").list.get(0)
    )
    return found, positives


def _find_pairs(
    documents: pl.DataFrame, queries: pl.DataFrame, judgments: pl.DataFrame
) -> pl.DataFrame:
    """(query_id, doc_id) of every known positive that has both its texts."""
    pairs = judgments.filter(pl.col("relevance") > 0).select("query_id", "doc_id")
    return pairs.join(queries, on="query_id", how="semi").join(documents, on="doc_id", how="semi")


def _write_out(
    negatives: pl.DataFrame,
    positives: pl.DataFrame,
    queries: pl.DataFrame,
    documents: pl.DataFrame,
    most: int | None,
    seed: int,
) -> pl.DataFrame:
    """Cross each query's positives and negatives, with texts; both have query_id, doc_id, score."""
    verdicts = negatives.with_columns(verdict=pl.lit("negative"), risk=pl.lit(None, pl.Float32))
    return build_triplets(verdicts, positives, queries, documents, most=most, seed=seed)


def _draw_open(
    asked: pl.Series, corpus: pl.Series, closed: pl.DataFrame, count: int, seed: int
) -> pl.DataFrame:
    """Draw documents of the sorted `corpus` per query: query_id, doc_id, position (from 1)."""
    rows = (
        closed.join(asked.to_frame("query_id").with_row_index("query"), on="query_id")
        .join(corpus.to_frame("doc_id").with_row_index("document"), on="doc_id")
        .select(pl.col("query", "document").cast(pl.Int64))
        .sort("query", "document")
    )
    query, document = rows["query"].to_numpy(), rows["document"].to_numpy()
    closed_counts = np.bincount(query, minlength=len(asked))
    starts = np.cumsum(closed_counts) - closed_counts
    free = len(corpus) - closed_counts
    ranks = _draw_ranks(hash_texts(asked), free, count, seed)
    # The open document of rank r has as many closed ones before it as there are closed documents
    # with at most r open ones before them. One search serves all queries: each has its own range.
    open_before = document - (np.arange(len(document)) - starts[query])
    stride = len(corpus) + count + 1
    keys = query * stride + open_before
    wanted = np.arange(len(asked))[:, None] * stride + ranks
    places = ranks + np.searchsorted(keys, wanted, side="right") - starts[:, None]
    there = np.arange(count) < free[:, None]
    of_query, draw = np.nonzero(there)
    return pl.DataFrame(
        {
            "query_id": asked.gather(of_query),
            "doc_id": corpus.gather(places[there]),
            "position": pl.Series(draw + 1, dtype=pl.UInt32),
        }
    )


def _draw_ranks(hashes: NDArray[np.uint64], free: Numbers, count: int, seed: int) -> Numbers:
    """Draw `count` different numbers below `free` per query, shape (n, count).

    What goes beyond the `free` there are is to be ignored.
    """
    drawn = np.empty((len(hashes), count), dtype=np.int64)
    for draw in range(count):
        left = np.maximum(free - draw, 1)
        number = uniform(seed, hashes, np.full(len(hashes), draw, dtype=np.uint64))
        # The largest number rounds to 1.0.
        rank = np.minimum((number * left).astype(np.int64), left - 1)
        for taken in np.sort(drawn[:, :draw], axis=1).T:
            rank += rank >= taken  # a rank among what is left becomes a rank among all
        drawn[:, draw] = rank
    return drawn
