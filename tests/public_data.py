"""The public collections in tests: where one is not on this machine, its test is skipped."""

from pathlib import Path

import polars as pl
import pytest

from benchmarks.data import MissingData, collection


def public(name: str) -> Path:
    """Folder of a collection; where it is missing, skips the test and says what fetches it."""
    try:
        return collection(name)
    except MissingData as missing:
        pytest.skip(str(missing))


def public_tables(name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Corpus, queries and qrels of a retrieval set."""
    folder = public(name)
    names = ("corpus", "queries", "qrels")
    corpus, queries, qrels = (pl.read_parquet(folder / f"{table}.parquet") for table in names)
    return corpus, queries, qrels
