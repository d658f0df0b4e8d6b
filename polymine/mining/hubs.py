"""Limits hubs: documents that lie near everything, and so are negatives of very many queries.

Each query takes its best candidates, and a document that more queries take than it may serve
stays with those it scores highest for; the others take their next, until no document has too many.
That is deferred acceptance (Gale and Shapley 1962): the result does not depend on who asks first.
Hubs: Radovanovic et al., "Hubs in Space", JMLR 11 (2010).
"""

import math

import polars as pl

REASON = "hub: a negative of as many queries as it may be"
FEWEST = 10  # queries that any document may serve
EVEN = 4  # times its even share of all negatives that any document may serve


def limit_of(queries: int, documents: int, negatives: int, share: float) -> int:
    """Count the queries that one document may be a negative of.

    Args:
        negatives: that a query takes.
        share: of the queries, as `selection.max_hub_share`.

    Returns:
        That share, and in small sets 10 or four times what an even spread would give.
    """
    even = queries * negatives / max(documents, 1)
    return max(FEWEST, math.floor(share * queries), math.ceil(EVEN * even))


def no_bars() -> pl.DataFrame:
    """Give what bars look like: doc_id, and score and query_id of the last pair that is let in."""
    return pl.DataFrame(schema={"doc_id": pl.String, "bar": pl.Float32, "last": pl.String})


def raise_bars(taken: pl.DataFrame, limit: int, bars: pl.DataFrame) -> pl.DataFrame | None:
    """Raise the bars of documents that more queries take than one may serve.

    Args:
        taken: query_id, doc_id, score of the candidates that queries take, below no bar.
        limit: queries that a document may serve.
        bars: so far.

    Returns:
        The bars from now on; None if no document has too many.
    """
    over = taken.group_by("doc_id").len().filter(pl.col("len") > limit)
    if over.is_empty():
        return None
    ordered = taken.join(over, on="doc_id", how="semi").sort(
        "doc_id", "score", "query_id", descending=[False, True, False]
    )
    nth = pl.int_range(pl.len()).over("doc_id")
    raised = ordered.filter(nth == limit - 1).select("doc_id", bar="score", last="query_id")
    return pl.concat([bars.join(raised, on="doc_id", how="anti"), raised])


def close_below(decided: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Give the candidates that stand below the bar of their document the reason why.

    Args:
        decided: query_id, doc_id, score, and `reason`, which stays where there is one.

    Returns:
        The same in its order.
    """
    if bars.is_empty():
        return decided
    below = (pl.col("score") < pl.col("bar")) | (
        (pl.col("score") == pl.col("bar")) & (pl.col("query_id") > pl.col("last"))
    )
    table = decided.join(bars, on="doc_id", how="left", maintain_order="left")
    reason = pl.coalesce("reason", pl.when(below).then(pl.lit(REASON)))
    return table.with_columns(reason=reason).drop("bar", "last")


def forget_needless(ordered: pl.DataFrame, count: int) -> pl.DataFrame:
    """Take the reason back where a query has enough candidates that are harder.

    Args:
        ordered: query_id, score, `reason`, and `order` of those that pass.
        count: candidates that a query takes.

    Returns:
        The same in its order: what is left with the reason is what the limit took away.
    """
    taken = pl.col("order").is_not_null() & pl.col("reason").is_null() & (pl.col("order") <= count)
    held = ordered.filter(taken).group_by("query_id").agg(lowest=pl.min("score"), held=pl.len())
    table = ordered.join(held, on="query_id", how="left", maintain_order="left")
    easier = (pl.col("score") < pl.col("lowest")) & (pl.col("held") >= count)
    forgotten = (pl.col("reason") == REASON) & easier.fill_null(value=False)
    return table.with_columns(reason=pl.when(~forgotten).then("reason")).drop("lowest", "held")
