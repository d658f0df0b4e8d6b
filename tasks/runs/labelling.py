"""The candidates of a finished run that a person's answer would tell most of."""

import polars as pl

from polymine.data_contracts.errors import InputError, StoreError
from polymine.mining.labelling import KEYS, draw_nearest
from polymine.mining.selection import CLOSED
from polymine.tasks.runs.folder import RunFolder


def draw_to_label(run: RunFolder, count: int) -> pl.DataFrame:
    """Draw candidates near the decision, with their texts.

    Returns:
        query_id, doc_id, relevance (empty), verdict, risk, query, document. Raises StoreError where
        the store no longer has the texts, InputError where nothing is left to ask about.
    """
    mining = run.mining
    negatives = run.read("negatives").with_columns(pl.col("verdict").cast(pl.String))
    teachers = [f"z_{teacher.name}" for teacher in mining.teachers]
    zs = pl.concat_list(pl.col(teachers).fill_null(0.0))
    known = run.scan("evidence").select(*KEYS, "label", disagreement=zs.list.max() - zs.list.min())
    open_ = negatives.lazy().filter(
        ~pl.col("reason").str.starts_with(CLOSED), pl.col("risk").is_not_null()
    )
    decided = open_.join(known, on=KEYS).filter(pl.col("label").is_null()).drop("label").collect()
    if decided.is_empty():
        raise InputError(f"{run.name}: it has no candidate that nobody has judged")
    decided = _with_texts(run, decided)
    pairs = decided.with_columns(kept=pl.col("verdict") == "negative")
    drawn = draw_nearest(pairs, count, mining.seed).join(decided, on=KEYS, maintain_order="left")
    empty = pl.lit(None, pl.Int8).alias("relevance")
    return drawn.select(*KEYS, empty, "verdict", "risk", "query", "document")


def _with_texts(run: RunFolder, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add `query`, `document` and `languages`, the document's first."""
    sides = {"queries": ("query_id", "query", "asked"), "documents": ("doc_id", "document", "read")}
    for table, (key, text, language) in sides.items():
        rows = run.collection(table, key, pairs[key].unique())
        if rows is None:
            raise StoreError(
                f"{run.name}: the store no longer has its texts ({run.store_name()}); run again "
                "with the same settings to have them"
            )
        named = rows.select(key, pl.col("text").alias(text), pl.col("language").alias(language))
        pairs = pairs.join(named, on=key, how="left", maintain_order="left")
    return pairs.with_columns(languages=pl.format("{}-{}", "read", "asked")).drop("read", "asked")
