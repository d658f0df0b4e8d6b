"""The search below the ceilings: what it depends on, and that shards do not show in it."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    SelectionSettings,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.deepening import deepen
from polymine.tasks.mining.evidence import evidence, score_positives
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.mining.ranking import rank
from polymine.tasks.mining.risk import fit_risk
from polymine.tasks.mining.teachers import index
from polymine.tasks.store.datasets import Store, load
from tests.small import BM25

SHALLOW = MiningSettings(
    teachers=(BM25,), depth=2, negatives=5, selection=SelectionSettings(rule="percent", percent=0.5)
)


@dataclass(frozen=True)
class Searched:
    """A collection with everything that comes before `deepen`."""

    collection: CollectionRef
    base: DatasetRef
    positives: DatasetRef
    model: DatasetRef
    inputs: dict[str, DatasetRef]
    run: Context

    def deepen(self, **selection: object) -> DatasetRef:
        rule = SHALLOW.selection.model_copy(update=selection)
        mining = SHALLOW.model_copy(update={"selection": rule})
        return deepen(
            self.run, self.collection, self.base, self.positives, self.model, mining, self.inputs
        )


def search(animals: dict[str, str], root: Path, shard_queries: int) -> Searched:
    run = Context(Store(str(root)), EngineSettings(memory=shard_queries / 1024))
    collection = ingest(run, DatasetSettings(**animals))
    inputs = {"bm25/index": index(run, BM25, collection.documents)}
    common = (SHALLOW, inputs)
    ranking = rank(run, BM25, collection, *common)
    positives = score_positives(run, collection, *common)
    base = evidence(run, collection, [ranking], *common)
    model = fit_risk(run, collection, base, SHALLOW)
    return Searched(collection, base, positives, model, inputs, run)


@pytest.fixture(scope="module")
def searched(animals, tmp_path_factory) -> Searched:
    return search(animals, tmp_path_factory.mktemp("store"), shard_queries=36)


def test_shards_do_not_show(searched, animals, tmp_path):
    whole = load(searched.deepen())
    cut = load(search(animals, tmp_path, shard_queries=5).deepen())
    keys = ["query_id", "doc_id", "score_bm25", "positive_score", "closed"]
    assert len(whole) > 50
    assert whole.select(keys).equals(cut.select(keys))


def test_what_was_there_already_is_not_found_again(searched):
    again = load(searched.deepen()).join(load(searched.base), on=["query_id", "doc_id"])
    assert len(again) == 0


def test_another_sampling_searches_nothing_anew(searched):
    searched.deepen()
    for selection in (
        {"sampling": "random", "pool": 5}, {"temperature": 0.5}, {"margin": 0.3}, {"shift": 3},
    ):  # fmt: skip
        assert searched.deepen(**selection).reused


@pytest.mark.parametrize(
    "selection", [{"percent": 0.4}, {"rule": "margin"}, {"sampling": "random", "pool": 6}]
)
def test_another_ceiling_or_more_to_draw_from_is_searched_for(searched, selection):
    searched.deepen()
    assert not searched.deepen(**selection).reused


def test_ranks_below_a_ceiling_are_unknown(searched):
    deep = load(searched.deepen())
    assert deep.select(pl.col("rank", "rank_bm25").is_null().all()).row(0) == (True, True)
