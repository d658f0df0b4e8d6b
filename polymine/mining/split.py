"""Holds documents out of mining and training, with everything that would give them away.

Documents that share a text, a near-copy group or a group_id, queries that share a text or a
group_id, and each query with its relevant documents stay together: whole components go to one side.
Splitting the queries alone would leave most test passages among the training passages.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.mining.groups import linked
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.near_copies import near_copies, text_key

Side = Literal["training", "test"]
TRAINING: Side = "training"
TEST: Side = "test"
OVERSHOOT = 1.25  # the test side never has more than this times the share that was asked for
UNANSWERED = "asks what a test query asks, and has no relevant document"
_LINKS = ["document", "query", "passage_group", "near_group", "passage_key", "circle", "query_key"]


@dataclass(frozen=True)
class Split:
    """Which side each text is on.

    Args:
        documents: doc_id, side (`training` or `test`); sorted by doc_id.
        queries: query_id, side, reason; sorted by query_id. A query that is on neither side has no
            side but a reason.
        counts: side to what lies there, as {"test": {"documents": 10, "queries": 30}}.
        left_out: reason to number of queries on neither side.
    """

    documents: pl.DataFrame
    queries: pl.DataFrame
    counts: dict[Side, dict[str, int]]
    left_out: dict[str, int]


def hold_out(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    near: pl.DataFrame,
    share: float,
    seed: int,
    near_queries: pl.DataFrame | None = None,
) -> Split:
    """Put about `share` of the documents on the test side.

    Components are taken in the order of a random number made of the seed and their lowest doc_id,
    until the share is reached; one that would make it more than 1.25 times the share stays in
    training. So neither the order of the rows nor a further document elsewhere moves more than what
    lies near the end of that order. Documents nobody asks about are drawn as all others: they are
    the distractors of the test.

    A query without a relevant document stays in training, where mining knows what to make of it,
    unless it asks what a test query asks: then it is on neither side.

    Args:
        documents, queries, judgments: contracts of these names.
        near: doc_id, near_group, as from `near_copies` or, with `near_queries`, `near_texts`.
        share: of the documents, from 0 to 1.
        near_queries: query_id, near_group; a group may hold documents and queries.

    Returns:
        The side of every document, and of every query that is on one.

    Raises:
        InputError: a side would be left without a query that has a relevant document.
    """
    if near_queries is None:
        near_queries = pl.DataFrame(schema={"query_id": pl.String, "near_group": pl.Int64})
    nodes = _components(documents, queries, judgments, near, near_queries)
    of_document = nodes.filter(pl.col("document").is_not_null() & pl.col("query").is_null())
    components = (
        of_document.group_by("component")
        .agg(pl.col("document").min().alias("name"), pl.len().alias("size"))
        .sort("name")
    )
    tested = _draw(components, share, seed)
    in_test = pl.col("component").is_in(tested.implode())
    side = pl.when(in_test).then(pl.lit(TEST)).otherwise(pl.lit(TRAINING))
    held = of_document.select(pl.col("document").alias("doc_id"), side.alias("side")).sort("doc_id")
    asked = nodes.filter(pl.col("document").is_null()).with_columns(side=side)
    known = judgments.filter(pl.col("relevance") > 0).join(documents, on="doc_id", how="semi")
    asked = _left_out(asked.select(pl.col("query").alias("query_id"), "side"), known)
    split = _counted(held, asked.sort("query_id"))
    _check_sides(asked.join(known, on="query_id", how="semi"), components, share)
    return split


def take(
    split: Split,
    side: Side,
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Cut the tables of one side; judgments between two sides are left out.

    Returns:
        documents, queries, judgments, rows in the order given.
    """
    held = split.documents.filter(pl.col("side") == side)
    asked = split.queries.filter(pl.col("side") == side)
    kept = judgments.join(held, on="doc_id", how="semi", maintain_order="left")
    return (
        documents.join(held, on="doc_id", how="semi", maintain_order="left"),
        queries.join(asked, on="query_id", how="semi", maintain_order="left"),
        kept.join(asked, on="query_id", how="semi", maintain_order="left"),
    )


def near_texts(
    documents: pl.DataFrame, queries: pl.DataFrame, threshold: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Group documents and queries with much the same words, as the training guard would find them.

    Args:
        threshold: Jaccard similarity of shingles, as in `near_copies`.

    Returns:
        doc_id, near_group and query_id, near_group; a document and a query may share a group.
    """
    kinds = (("d", "doc_id", documents), ("q", "query_id", queries))
    texts = [
        table.select(pl.concat_str(pl.lit(kind), key).alias("doc_id"), "text")
        for kind, key, table in kinds
    ]
    groups = near_copies(pl.concat(texts), threshold).with_columns(
        kind=pl.col("doc_id").str.slice(0, 1), text_id=pl.col("doc_id").str.slice(1)
    )
    found = [
        groups.filter(kind=kind).select(pl.col("text_id").alias(key), "near_group")
        for kind, key, _ in kinds
    ]
    return found[0], found[1]


def _components(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    near: pl.DataFrame,
    near_queries: pl.DataFrame,
) -> pl.DataFrame:
    """One row per document, query and relevant pair of them, with its component.

    A row joins all rows with which it shares any of its values; a pair has both its ids.
    """
    labels = near.select("doc_id", "near_group")
    passages = documents.join(labels, on="doc_id", how="left", maintain_order="left")
    labels = near_queries.select("query_id", "near_group")
    asked = queries.join(labels, on="query_id", how="left", maintain_order="left")
    pairs = judgments.filter(pl.col("relevance") > 0)
    pairs = pairs.join(documents, on="doc_id", how="semi").join(queries, on="query_id", how="semi")
    rows = [
        passages.select(
            pl.col("doc_id").alias("document"),
            _group(passages).alias("passage_group"),
            "near_group",
            _keys(passages["text"]).alias("passage_key"),
        ),
        asked.select(
            pl.col("query_id").alias("query"),
            _group(asked).alias("circle"),
            "near_group",
            _keys(asked["text"]).alias("query_key"),
        ),
        pairs.select(pl.col("doc_id").alias("document"), pl.col("query_id").alias("query")),
    ]
    nodes = pl.concat(rows, how="diagonal")
    return nodes.with_columns(linked(nodes, _LINKS)).select("document", "query", "component")


def _draw(components: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Components of the test side; takes component, name (unique) and size, sorted by name."""
    total = int(components["size"].sum())
    drawn = uniform(seed, hash_texts(components["name"]))
    sizes = components["size"].to_list()
    taken: list[int] = []
    held = 0
    for index in np.argsort(drawn, kind="stable").tolist():
        if held >= share * total:
            break
        if held + sizes[index] <= OVERSHOOT * share * total:
            held += sizes[index]
            taken.append(index)
    return components["component"][taken]


def _left_out(asked: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Take the side from test queries without a relevant document, and say why."""
    unanswered = ~pl.col("query_id").is_in(known["query_id"].unique().implode())
    reason = pl.when((pl.col("side") == TEST) & unanswered).then(pl.lit(UNANSWERED))
    asked = asked.with_columns(reason=reason.otherwise(pl.lit(None, pl.String)))
    return asked.with_columns(side=pl.when(pl.col("reason").is_null()).then("side"))


def _counted(documents: pl.DataFrame, queries: pl.DataFrame) -> Split:
    sides: tuple[Side, ...] = (TRAINING, TEST)
    counts = {
        side: {
            "documents": documents.filter(pl.col("side") == side).height,
            "queries": queries.filter(pl.col("side") == side).height,
        }
        for side in sides
    }
    reasons = queries.drop_nulls("reason")["reason"].value_counts().sort("reason")
    return Split(documents, queries, counts, dict(reasons.rows()))


def _check_sides(answered: pl.DataFrame, components: pl.DataFrame, share: float) -> None:
    """Both sides need queries; the largest component says why one may have none."""
    for side in (TRAINING, TEST):
        if answered.filter(pl.col("side") == side).height == 0:
            sizes = components["size"].to_list()
            raise InputError(
                f"Holding out {share:g} of {sum(sizes):,} documents leaves no query with a "
                f"relevant document on the {side} side. They fall into {len(sizes):,} groups that "
                f"must stay together, the largest of {max(sizes, default=0):,}. Hold out another "
                "share, or give a test set of its own"
            )


def _group(texts: pl.DataFrame) -> pl.Expr:
    return pl.col("group_id") if "group_id" in texts.columns else pl.lit(None, pl.String)


def _keys(texts: pl.Series) -> pl.Series:
    """What copies share, as a number: collisions of 64 bits would only join two components."""
    return pl.Series(hash_texts(text_key(text) for text in texts), dtype=pl.UInt64)
