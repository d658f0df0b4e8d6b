"""Triplets small enough to check by eye, for the tests of what trainers read."""

import polars as pl

from polymine.data_contracts.tables import Triplets

TEXTS = {"a": "apple", "b": "beet\nroot", "c": "chou « frisé »", "p": "pear"}


def triplets(*rows: tuple) -> pl.DataFrame:
    """(query, positive, negative, position, positive score, negative score) with texts."""
    return table(rows, TEXTS)


def table(rows, texts) -> pl.DataFrame:
    names = ["query_id", "positive_id", "negative_id", "position", "positive_score",
             "negative_score"]  # fmt: skip
    types = dict.fromkeys(names[:3], pl.String) | {names[3]: pl.UInt32}
    types |= dict.fromkeys(names[4:], pl.Float32)
    frame = pl.DataFrame(list(rows), types, orient="row").with_columns(
        anchor=pl.col("query_id") + "?",
        positive=pl.col("positive_id").replace_strict(texts, return_dtype=pl.String),
        negative=pl.col("negative_id").replace_strict(texts, return_dtype=pl.String),
        weight=pl.lit(1.0, pl.Float32),
        positive_weight=pl.lit(1.0, pl.Float32),
        **{f"{side}_language": pl.lit("und") for side in ("anchor", "positive", "negative")},
    )
    return Triplets.validate(frame, cast=True)


# q has two positives and takes c before b, r has one of each
TWO = triplets(
    ("q", "a", "c", 1, 0.75, 0.25), ("q", "a", "b", 2, 0.75, 0.5),
    ("q", "p", "c", 1, 0.5, 0.25), ("q", "p", "b", 2, 0.5, 0.5),
    ("r", "c", "a", 1, 0.25, 0.125),
)  # fmt: skip
