"""Builders of tables small enough to check by eye."""

import polars as pl


def documents(*rows: tuple, **columns: list) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["doc_id", "text"], orient="row").with_columns(
        pl.lit("en").alias("language")
    )
    return frame.with_columns(pl.Series(name, values) for name, values in columns.items())


def queries(*rows: tuple, **columns: list) -> pl.DataFrame:
    return documents(*rows, **columns).rename({"doc_id": "query_id"})


def judgments(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["query_id", "doc_id", "relevance"], orient="row")


DOCUMENTS = documents(("d1", "red apples"), ("d2", "green pears"))
QUERIES = queries(("q1", "fruit?"), ("q2", "pears?"))
JUDGMENTS = judgments(("q1", "d1", 1), ("q2", "d2", 1))
