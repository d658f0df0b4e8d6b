"""A run whose lists have a document of every verdict, for the tests of lists."""

from pathlib import Path

import polars as pl

import polymine
from polymine.data_contracts.settings import EngineSettings
from tests.small import BM25, animal_tables, small_teacher, small_validator

QUERY = "owl-food?"  # has a further positive, by a label


def mine_animals(place: Path) -> polymine.Run:
    """Mine the animals under a validator, with so tight a budget that something is excluded."""
    corpus, queries, judgments = animal_tables()
    labels = pl.DataFrame({"query_id": [QUERY], "doc_id": ["owl-care"], "relevance": [1]})
    return polymine.mine(
        corpus=corpus, queries=queries, judgments=judgments, labels=labels,
        output=place / "run", engine=EngineSettings(store=str(place / "store"), threads=1),
        teachers=[small_teacher().model_dump(), BM25.model_dump()], negatives=3, depth=10,
        validation=small_validator().model_dump(), max_false_negative_rate=0.0005,
    )  # fmt: skip


def texts_of(run: polymine.Run, lists: pl.DataFrame) -> dict[str, str]:
    """Texts of documents by their ids, as the store has them."""
    documents = run.collection("documents", "doc_id", lists["doc_id"].unique())
    assert documents is not None
    return dict(documents["doc_id", "text"].rows())
