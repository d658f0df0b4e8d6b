"""The first look of a real run: there before the slow teachers, and no run in itself."""

import pytest

import polymine
from polymine.data_contracts.errors import ModelError, StoreError
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    TeacherSettings,
)
from polymine.flows.mining import mine_collection
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import ingest
from tests.small import BM25


def test_it_is_there_though_the_next_teacher_fails_and_is_taken_for_no_run(animals, tmp_path):
    lost = TeacherSettings(name="lost", model=str(tmp_path / "no model here"))
    mining = MiningSettings(teachers=(lost, BM25))
    run = Context.of(EngineSettings(store=str(tmp_path / "store")))
    collection = ingest(run, DatasetSettings(**animals))
    with pytest.raises(ModelError):
        mine_collection(run, collection, OutputSettings(path=str(tmp_path / "run")), mining)
    assert [node.name for node in run.graph.nodes] == ["ingest", "index-bm25", "first-look"]
    [page] = (tmp_path / "store").glob("first-look/*/first-look.html")
    text = page.read_text(encoding="utf-8")
    assert "bm25 finds a known positive first for" in text
    assert "Where does the otter live?" in text
    with pytest.raises(StoreError, match="not the folder of a finished run"):
        polymine.open(page.parent)
