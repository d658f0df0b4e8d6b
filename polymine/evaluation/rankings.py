"""Rankings that something else made, as TREC runs and BM25, measured as models are.

What is ranked there counts as trec_eval reads a run: by score, then by descending document id; the
ranks of the file are not read. Documents that a ranking leaves out stand behind all others.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.metrics import DEPTH, add_metrics
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.lexical import build_index

_RUN = ["query_id", "marker", "doc_id", "rank", "score", "system"]


def read_run(text: str, name: str) -> pl.DataFrame:
    """Read a TREC run: `query Q0 document rank score system` a line, by spaces or tabs.

    Args:
        text: of the file.
        name: what errors call it.

    Returns:
        query_id, doc_id, score (Float64).

    Raises:
        InputError: a line has other columns, a score is no finite number, or a document is ranked
            twice for a query.
    """
    rows = [line.split() for line in text.splitlines() if line.strip()]
    odd = [number for number, row in enumerate(rows, 1) if len(row) != len(_RUN)]
    if odd or not rows:
        where = f"{len(odd):,} lines have not, the first is line {odd[0]}" if odd else "it is empty"
        raise InputError(
            f"{name}: a TREC run has six columns (query, Q0, document, rank, score, system); "
            f"{where}"
        )
    frame = pl.DataFrame(rows, schema=dict.fromkeys(_RUN, pl.String), orient="row")
    scores = frame["score"].cast(pl.Float64, strict=False)
    wrong = frame["score"].filter(~scores.is_finite().fill_null(False))
    if len(wrong):
        raise InputError(f"{name}: {len(wrong):,} scores are no finite numbers, as `{wrong[0]}`")
    twice = frame.filter(pl.struct("query_id", "doc_id").is_duplicated())
    if twice.height:
        query, document = twice.select("query_id", "doc_id").row(0)
        raise InputError(
            f"{name}: {twice.height:,} lines rank a document twice for a query, as {document} for "
            f"{query}; keep one of each"
        )
    return frame.select("query_id", "doc_id", score=scores)


def measure_ranking(
    collection: EvaluationCollection,
    ranking: pl.DataFrame,
    *,
    name: str,
    k: int = 10,
    pooled: bool = True,
) -> pl.DataFrame:
    """Measure a ranking in every direction in which something is relevant.

    Args:
        collection: what was ranked.
        ranking: query_id, doc_id, score; a document at most once per query.
        name: of the set.
        k: cut-off of nDCG, recall and MRR.
        pooled: also measure the documents of all languages together.

    Returns:
        `QueryScores`, by direction and query. A query that the ranking has nothing for counts as 0,
        as with trec_eval's option `-c`.

    Raises:
        InputError: the ranking names ids that the collection has not, or no query has a relevant
            document.
    """
    check_ids(collection, ranking, name)
    if collection.relevant.is_empty():
        raise InputError(f"{name}: no query has a relevant document in any language")
    assert collection.hidden is not None
    shown = ranking.join(collection.hidden, on=["query_id", "doc_id"], how="anti")
    shown = shown.join(
        collection.documents.select("doc_id", document_language="language"), on="doc_id"
    ).with_columns(pl.col("score").cast(pl.Float32))  # trec_eval's precision
    pools = [shown] + ([shown.with_columns(document_language=pl.lit(POOL))] if pooled else [])
    ranks = pl.concat(pools).sort("score", "doc_id", descending=True)
    place = pl.int_range(1, pl.len() + 1).over("query_id", "document_language")
    ranks = ranks.with_columns(rank=place).drop("score")
    relevant = collection.relevant
    wanted = [relevant]
    if pooled:
        wanted.append(relevant.with_columns(document_language=pl.lit(POOL)))
    pair = ["query_id", "doc_id", "document_language"]
    found = pl.concat(wanted).join(ranks, on=pair, how="left")
    asked = collection.queries.select("query_id", query_language="language")
    measured = add_metrics(
        found.select(
            "document_language", "relevance", query="query_id",
            rank=pl.col("rank").fill_null(DEPTH + 1),
        ),
        k,
    )  # fmt: skip
    named = measured.rename({"query": "query_id"}).join(asked, on="query_id")
    named = named.with_columns(set=pl.lit(name)).select(QueryScores.column_names())
    return QueryScores.validate(named.sort(QueryScores.primary_key()), cast=True)


def check_ids(collection: EvaluationCollection, ranking: pl.DataFrame, name: str) -> None:
    """Refuse a ranking of other texts.

    Args:
        collection, ranking: as of `measure_ranking`.
        name: of the ranking, for errors.

    Raises:
        InputError: the ranking names ids that the collection has not.
    """
    for key, table in (("query_id", collection.queries), ("doc_id", collection.documents)):
        known = ranking[key].unique(maintain_order=True)
        unknown = known.filter(~known.is_in(table[key].implode()))
        if len(unknown):
            raise InputError(
                f"{name}: {len(unknown):,} of {len(known):,} values of {key} are not in the set, "
                f"as `{unknown[0]}`, where the set has `{table[key][0]}`; was the ranking made on "
                "another collection or split?"
            )


def rank_words(collection: EvaluationCollection, k1: float = 1.2, b: float = 0.75) -> pl.DataFrame:
    """Rank the documents of each language by BM25 (Lucene's variant).

    Args:
        collection: with texts; words are those of `polymine.mining.lexical`.
        k1, b: as BM25 has them.

    Returns:
        query_id, doc_id, score: of each query and language the best 1000 documents that share a
        word with it.

    Raises:
        InputError: not one document holds a word.
    """
    texts = collection.documents["text"].to_list()
    index = build_index(texts, k1, b)
    languages = collection.documents["language"].to_numpy()
    queries = np.arange(collection.queries.height)
    parts = []
    for language in collection.documents["language"].unique().sort():
        rows = np.flatnonzero(languages == language)
        teacher = LexicalTeacher(
            "bm25", index, collection.queries["text"].to_list(), texts, candidates=rows
        )
        best, scores = teacher.nearest(queries, min(DEPTH, len(rows)))
        asked, column = np.nonzero(best >= 0)
        parts.append(
            pl.DataFrame(
                {
                    "query_id": collection.queries["query_id"].gather(asked),
                    "doc_id": collection.documents["doc_id"].gather(best[asked, column]),
                    "score": scores[asked, column].astype(np.float64),
                }
            )
        )
    return pl.concat(parts)
