"""What is known of pairs that only a batch brings together: which text may not be whose negative.

In a batch every row's documents are negatives of all other rows, so what mining kept out of a
query's own negatives comes back by another row. A relation says how much a text counts as a
negative of an anchor: not at all (0) where it is known to belong to it, 1 - risk where the evidence
doubts that it is one. Texts are named by their hashes, so that equal texts are one, in whichever
row, column or file they stand.
"""

import numpy as np
import polars as pl

from polymine.mining.hashing import hash_texts
from polymine.mining.near_copies import text_key
from polymine.reading.shared_texts import number_texts

NEGLIGIBLE = 0.01  # risk; it would shift a logit by no more than that
RELATIONS = {"anchor_hash": pl.UInt64, "text_hash": pl.UInt64, "weight": pl.Float32}


def own_relations(rows: pl.DataFrame) -> pl.DataFrame:
    """Name every row's positive as known to belong to its anchor.

    Args:
        rows: anchor, positive, and negatives and positive_weights (lists) where there are any.

    Returns:
        RELATIONS of weight 0; an anchor has all its positives, in whichever row they stand, and all
        copies of them, whatever their case and blanks.
    """
    names = [name for name in ("anchor", "positive", "negatives") if name in rows.columns]
    numbers, texts = number_texts(rows, names)
    pairs = numbers.select("anchor", "positive")
    if "positive_weights" in rows.columns:
        listed = numbers.filter(pl.col("positive_weights").list.len() > 0)
        each = listed.select("anchor", "positive_weights", positive="negatives")
        further = each.explode("positive", "positive_weights").filter(
            pl.col("positive_weights") > 0
        )
        pairs = pl.concat([pairs, further.select("anchor", "positive")])
    pairs = pairs.unique(maintain_order=True)
    keyed = pl.DataFrame({"key": hash_texts(text_key(text) for text in texts)})
    keys = keyed.with_row_index("text")
    named = pairs.join(keys.rename({"text": "anchor", "key": "asked"}), on="anchor")
    named = named.join(keys.rename({"text": "positive"}), on="positive")
    closed = named.select("asked", "key").unique().join(keys, on="key")
    closed = named.select("anchor", "asked").unique().join(closed, on="asked")
    hashes = hash_texts(texts)
    return _table(hashes[closed["anchor"].to_numpy()], hashes[closed["text"].to_numpy()], 0.0)


def relations_of_run(
    queries: pl.DataFrame, documents: pl.DataFrame, closure: pl.DataFrame, decided: pl.DataFrame
) -> pl.DataFrame:
    """Name what a mining run knows of pairs of its queries and the documents that rows hold.

    Args:
        queries, documents: query_id or doc_id, and text, of those in the rows.
        closure: query_id, doc_id of what may never be a negative.
        decided: query_id, doc_id, risk of candidates that were judged (contract Negatives); a null
            risk says nothing.

    Returns:
        RELATIONS: weight 0 for closed pairs, 1 - risk for the others.
    """
    pairs = pl.concat(
        [
            closure.select("query_id", "doc_id", weight=pl.lit(0.0)),
            decided.drop_nulls("risk").select("query_id", "doc_id", weight=1.0 - pl.col("risk")),
        ],
        how="vertical_relaxed",
    )
    hashed = [
        table.select(key, pl.Series(f"{name}_hash", hash_texts(table["text"])))
        for table, key, name in (
            (queries, "query_id", "anchor"),
            (documents, "doc_id", "text"),
        )
    ]
    joined = pairs.join(hashed[0], on="query_id").join(hashed[1], on="doc_id")
    return joined.select(pl.col(name).cast(kind) for name, kind in RELATIONS.items())


def texts_of(triplets: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """List the queries (query_id, text) and documents (doc_id, text) of triplets, each once."""
    asked = triplets.select("query_id", text="anchor").unique("query_id", maintain_order=True)
    sides = (triplets.select(doc_id=f"{side}_id", text=side) for side in ("positive", "negative"))
    return asked, pl.concat(sides).unique("doc_id", maintain_order=True)


def relate(rows: pl.DataFrame, relations: pl.DataFrame) -> pl.DataFrame:
    """Put to every row what is known of its anchor and texts of other rows.

    Args:
        rows: TrainingRows of one source; what they held of relations before is replaced.
        relations: RELATIONS, in any order and several of a pair; the lowest weight counts.

    Returns:
        The rows with `related` and `related_weights`, ordered by hash; texts that stand in no row,
        and those that are negatives but for NEGLIGIBLE risk, are left out.
    """
    rows = rows.drop("related", "related_weights", strict=False)
    if "positive_weights" not in rows.columns:  # pairs have none
        rows = rows.with_columns(positive_weights=pl.lit([], pl.List(pl.Float32)))
    texts = pl.concat([rows["anchor"], rows["positive"], rows["negatives"].explode().drop_nulls()])
    known = (
        relations.filter(
            (pl.col("weight") < 1 - NEGLIGIBLE)
            & pl.col("text_hash").is_in(pl.Series(hash_texts(texts.unique())).implode())
        )
        .group_by("anchor_hash", "text_hash")
        .agg(pl.min("weight"))
        .sort("anchor_hash", "text_hash")
        .group_by("anchor_hash", maintain_order=True)
        .agg(related="text_hash", related_weights="weight")
    )
    hashed = rows.with_columns(pl.Series("anchor_hash", hash_texts(rows["anchor"])))
    joined = hashed.join(known, on="anchor_hash", how="left", maintain_order="left")
    return joined.drop("anchor_hash").with_columns(
        pl.col("related").fill_null(pl.lit([], pl.List(pl.UInt64))),
        pl.col("related_weights").fill_null(pl.lit([], pl.List(pl.Float32))),
    )


def _table(anchors: np.ndarray, texts: np.ndarray, weight: float) -> pl.DataFrame:
    return pl.DataFrame(
        {"anchor_hash": anchors, "text_hash": texts, "weight": np.full(len(texts), weight)},
        schema=RELATIONS,
    )
