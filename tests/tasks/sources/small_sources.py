"""Builders of small data sets on disk, and the one way in which tests read them."""

import json
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import DatasetSettings
from polymine.tasks.sources.reading import RawTables, fingerprint_sources, read_sources

DOCUMENTS = pl.DataFrame({"doc_id": ["d1", "d2"], "text": ["red apples", "green pears"]})
QUERIES = pl.DataFrame({"query_id": ["q1", "q2"], "text": ["apples?", "pears?"]})
JUDGMENTS = pl.DataFrame({"query_id": ["q1", "q2"], "doc_id": ["d1", "d2"], "relevance": [1, 2]})


def write_tables(folder: Path) -> Path:
    """Three good Parquet tables, in the layout that a folder as `corpus` alone is read as."""
    DOCUMENTS.write_parquet(folder / "corpus.parquet")
    QUERIES.write_parquet(folder / "queries.parquet")
    JUDGMENTS.write_parquet(folder / "qrels.parquet")
    return folder


def write_lines(path: Path, *rows: object) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(corpus: object = None, **named: object) -> RawTables:
    values = {"corpus": corpus, **named}
    settings = DatasetSettings(
        **{
            key: [str(item) for item in value]
            if isinstance(value, list)
            else str(value)
            if value is not None
            else None
            for key, value in values.items()
        }
    )
    raw = read_sources(settings)
    assert raw.fingerprint == fingerprint_sources(settings)
    return raw


def read_corpus(folder: Path, corpus: object, **named: object) -> pl.DataFrame:
    tables = {"queries": folder / "queries.parquet", "judgments": folder / "qrels.parquet"}
    return read(corpus, **(tables | named)).documents


def failure(*args: object, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        read(*args, **named)
    return str(caught.value)
