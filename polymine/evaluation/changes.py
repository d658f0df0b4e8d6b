"""The queries that a model answers much better or worse than the base, with their texts."""

import polars as pl

from polymine.data_contracts.learning import Changes
from polymine.evaluation.collection import POOL, EvaluationCollection

SHOWN = 10  # queries at either end


def changed_most(
    collection: EvaluationCollection, base: pl.DataFrame, model: pl.DataFrame, name: str
) -> pl.DataFrame:
    """List the queries whose nDCG rose and fell most.

    Args:
        collection: with the texts.
        base, model: `QueryScores` of one set.
        name: of the model.

    Returns:
        `Changes`, the largest gain first, the largest loss last; at most SHOWN of each, without the
        pool, whose queries are those of the directions.
    """
    key = ["set", "document_language", "query_language", "query_id"]
    both = model.join(base, on=key, suffix="_base").with_columns(
        model=pl.lit(name), base=pl.col("ndcg_base"), value=pl.col("ndcg"),
        gain=pl.col("ndcg") - pl.col("ndcg_base"),
    )  # fmt: skip
    changed = both.filter(pl.col("document_language") != POOL, pl.col("gain") != 0)
    changed = changed.sort("gain", *key, descending=[True, *[False] * len(key)])
    better = changed.filter(pl.col("gain") > 0).head(SHOWN)
    ends = pl.concat([better, changed.filter(pl.col("gain") < 0).tail(SHOWN)])
    best = collection.relevant.sort("relevance", "doc_id", descending=[True, False])
    best = best.unique(["query_id", "document_language"], keep="first", maintain_order=True)
    answers = best.join(collection.documents.select("doc_id", answer="text"), on="doc_id")
    told = ends.join(
        collection.queries.select("query_id", query="text"), on="query_id", maintain_order="left"
    ).join(
        answers.select("query_id", "document_language", "answer"),
        on=["query_id", "document_language"], maintain_order="left",
    )  # fmt: skip
    return Changes.validate(told.select(Changes.column_names()), cast=True)
