"""Holds documents out of mining and training, with everything that would give them away.

Documents that share a text, a near-copy group or a group_id, queries that share a text or a
group_id, and each query with its relevant documents stay together: whole components go to one side.
Splitting the queries alone would leave most test passages among the training passages.

Where judgments go from many queries to many documents, nearly everything is one component:
Cranfield would leave 11 of 225 queries to test on, and those with few relevant documents. There
queries are held out and their documents left in the corpus, as in BEIR's sets.
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
Way = Literal["documents", "queries"]
OVERSHOOT = 1.25  # the test side never has more than this times the share that was asked for
STUCK = 0.1  # share of queries in components too large to be drawn from which queries are held out
UNANSWERED = "asks what a test query asks, and has no relevant document"
_ASKED = ["near_group", "circle", "query_key"]  # what joins queries
_LINKS = ["document", "query", "passage_group", "passage_key", *_ASKED]


@dataclass(frozen=True)
class Split:
    """Which side each text is on.

    Args:
        way: what was held out.
        documents: doc_id, side (`training` or `test`); sorted by doc_id. All are of the training
            side where queries are held out.
        queries: query_id, side, reason; sorted by query_id. A query that is on neither side has no
            side but a reason.
        counts: side to what lies there, as {"test": {"documents": 10, "queries": 30}}.
        left_out: reason to number of queries on neither side.
        largest: documents of the largest component.
    """

    way: Way
    documents: pl.DataFrame
    queries: pl.DataFrame
    counts: dict[Side, dict[str, int]]
    left_out: dict[str, int]
    largest: int


def hold_out(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    near: pl.DataFrame,
    share: float,
    seed: int,
    near_queries: pl.DataFrame | None = None,
    way: Way | Literal["auto"] = "documents",
) -> Split:
    """Put about `share` of the documents, or of the queries, on the test side.

    Components are taken in the order of a random number made of the seed and their lowest id, until
    the share is reached; one that would make it more than 1.25 times the share stays in training.
    So neither the order of the rows nor a further document elsewhere moves more than what lies near
    the end of that order. Documents nobody asks about are drawn as all others: they are the
    distractors of the test.

    Where queries are held out, their components are what asks the same: equal and near texts and
    translations; documents join none.

    A query without a relevant document stays in training, where mining knows what to make of it,
    unless it asks what a test query asks: then it is on neither side.

    Args:
        documents, queries, judgments: contracts of these names.
        near: doc_id, near_group, as from `near_copies` or, with `near_queries`, `near_texts`.
        share: of the documents or of the queries that have a relevant one, from 0 to 1.
        seed: of the draw.
        near_queries: query_id, near_group; a group may hold documents and queries.
        way: what to hold out. `auto` takes documents unless more than STUCK of the queries that
            have a relevant document hang in components too large to be drawn.

    Returns:
        The side of every document, and of every query that is on one.

    Raises:
        InputError: a side would be left without a query that has a relevant document.
    """
    nodes = _nodes(documents, queries, judgments, near, near_queries)
    known = judgments.filter(pl.col("relevance") > 0).join(documents, on="doc_id", how="semi")
    answered = known.join(queries, on="query_id", how="semi").select(query="query_id").unique()
    whole = nodes.with_columns(linked(nodes, _LINKS))
    of_document = whole.filter(pl.col("document").is_not_null() & pl.col("query").is_null())
    components = _named(of_document, "document")
    way = _choose(whole, components, answered, share) if way == "auto" else way
    asked = whole.filter(pl.col("document").is_null())
    if way == "queries":
        asked = asked.with_columns(linked(asked, _ASKED))
        components = _named(asked.join(answered, on="query", how="semi"), "query")
    tested = _draw(components, share, seed)
    in_test = pl.col("component").is_in(tested.implode())
    side = pl.when(in_test).then(pl.lit(TEST)).otherwise(pl.lit(TRAINING))
    held = of_document.select(
        doc_id="document", side=side if way == "documents" else pl.lit(TRAINING)
    )
    sides = _left_out(asked.select(query_id="query", side=side), known)
    _check_sides(sides.join(known, on="query_id", how="semi"), components, share, way)
    sizes = whole.group_by("component").agg(pl.col("document").n_unique())["document"]
    return _counted(way, held.sort("doc_id"), sides.sort("query_id"), max(sizes))


def take(
    split: Split,
    side: Side,
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    *,
    whole: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Cut the tables of one side; judgments of queries or documents of the other are left out.

    Args:
        split: of these tables.
        side: to take.
        documents, queries, judgments: as for `hold_out`.
        whole: take the documents of both sides, for queries that search the whole corpus. No
            document of the other side is relevant to them.

    Returns:
        documents, queries, judgments, rows in the order given.
    """
    held = split.documents.filter((pl.col("side") == side) | whole)
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


def _nodes(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    near: pl.DataFrame,
    near_queries: pl.DataFrame | None,
) -> pl.DataFrame:
    """One row per document, query and relevant pair of them, with the columns of _LINKS.

    A row joins all rows with which it shares any of its values; a pair has both its ids.
    """
    labels = near.select("doc_id", "near_group")
    passages = documents.join(labels, on="doc_id", how="left", maintain_order="left")
    if near_queries is None:
        near_queries = pl.DataFrame(schema={"query_id": pl.String, "near_group": pl.Int64})
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
    return pl.concat(rows, how="diagonal")


def _named(members: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Components by their lowest member: component, name and size, sorted by name."""
    return (
        members.group_by("component")
        .agg(name=pl.col(kind).min(), size=pl.col(kind).n_unique())
        .sort("name")
    )


def _choose(
    nodes: pl.DataFrame, components: pl.DataFrame, answered: pl.DataFrame, share: float
) -> Way:
    """Hold out documents unless that would leave too many queries no chance to be drawn."""
    limit = OVERSHOOT * share * int(components["size"].sum())
    asking = nodes.filter(pl.col("document").is_null()).join(answered, on="query", how="semi")
    asked = asking.group_by("component").agg(queries=pl.col("query").n_unique())
    sized = components.group_by("component").agg(pl.col("size").sum())
    both = asked.join(sized, on="component", how="left")
    crowd = OVERSHOOT * share * answered.height  # a page that answers more is drawn by luck, or not
    stuck = both.filter((pl.col("size") > limit) | (pl.col("queries") > max(1, crowd)))
    count = int(stuck["queries"].sum())
    return "queries" if count > STUCK * answered.height else "documents"


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


def _counted(way: Way, documents: pl.DataFrame, queries: pl.DataFrame, largest: int) -> Split:
    sides: tuple[Side, ...] = (TRAINING, TEST)
    counts = {
        side: {
            "documents": documents.filter(pl.col("side") == side).height,
            "queries": queries.filter(pl.col("side") == side).height,
        }
        for side in sides
    }
    reasons = queries.drop_nulls("reason")["reason"].value_counts().sort("reason")
    return Split(way, documents, queries, counts, dict(reasons.rows()), largest)


def _check_sides(answered: pl.DataFrame, components: pl.DataFrame, share: float, way: Way) -> None:
    """Both sides need queries; the largest component says why one may have none."""
    for side in (TRAINING, TEST):
        if answered.filter(pl.col("side") == side).height == 0:
            sizes = components["size"].to_list()
            other = 'evaluation.hold_out = "queries", ' if way == "documents" else ""
            raise InputError(
                f"Holding out {share:g} of {sum(sizes):,} {way} leaves no query with a "
                f"relevant document on the {side} side. They fall into {len(sizes):,} groups that "
                f"must stay together, the largest of {max(sizes, default=0):,}. Set {other}hold "
                "out another share, or give a test set of its own"
            )


def _group(texts: pl.DataFrame) -> pl.Expr:
    return pl.col("group_id") if "group_id" in texts.columns else pl.lit(None, pl.String)


def _keys(texts: pl.Series) -> pl.Series:
    """What copies share, as a number: collisions of 64 bits would only join two components."""
    return pl.Series(hash_texts(text_key(text) for text in texts), dtype=pl.UInt64)
