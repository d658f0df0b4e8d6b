"""What counts as the same documents and queries, whatever else of a data set changes."""

import shutil

import polars as pl

from polymine.data_contracts.notes import CollectionNote
from polymine.data_contracts.references import CollectionRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
)
from polymine.flows.mining import mine_collection
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.store.datasets import Store, note_of
from tests.small import BM25, MINILM, plan_mining, small_teacher
from tests.tasks.sources.test_cases import CASES


def test_other_judgments_leave_documents_and_queries_as_they_are(animals, tmp_path):
    def collect(**values: object) -> CollectionRef:
        run = Context(Store(str(tmp_path / "store")), EngineSettings())
        return ingest(run, DatasetSettings(**{**animals, **values}))

    judged = pl.read_parquet(animals["judgments"])
    judged.head(20).write_parquet(tmp_path / "fewer.parquet")
    documents = pl.read_parquet(animals["corpus"])
    documents.head(-1).write_parquet(tmp_path / "smaller.parquet")

    first = collect()
    for values in ({"judgments": str(tmp_path / "fewer.parquet")}, {"near_copy": 0.7}):
        other = collect(**values)
        assert other.fingerprint != first.fingerprint
        assert other.documents.fingerprint == first.documents.fingerprint
        assert other.queries.fingerprint == first.queries.fingerprint
    again = collect()
    assert again.reused
    assert again.documents.fingerprint == first.documents.fingerprint
    smaller = collect(corpus=str(tmp_path / "smaller.parquet"))
    assert smaller.documents.fingerprint != first.documents.fingerprint
    assert smaller.queries.fingerprint == first.queries.fingerprint


def test_a_collection_says_what_its_files_were_taken_for(tmp_path):
    run = Context(Store(str(tmp_path / "store")), EngineSettings())
    path = CASES / "trainers" / "flagembedding.jsonl"
    note = note_of(ingest(run, DatasetSettings(pairs=str(path))).documents, CollectionNote)
    (source,) = note.sources
    assert (source.format, source.rows, source.lines) == ("FlagEmbedding", 4, 4)
    assert source.columns == (("anchor", "query"), ("positive", "pos"), ("negative", "neg"))
    assert source.ignored == ("prompt",)


def test_a_plan_says_what_files_are_taken_for(tmp_path):
    path = CASES / "unnamed-index" / "export.csv"
    plan = plan_mining(
        DatasetSettings(pairs=str(path)), OutputSettings(path=str(tmp_path / "out")),
        MiningSettings(negatives=1), EngineSettings(store=str(tmp_path / "store")),
    )  # fmt: skip
    assert plan.sources[0].startswith(f"{path}: CSV; 5 rows; comma, no quotes, a header; anchor")
    assert "export.csv: CSV; 5 rows" in " ".join(str(plan).split())


def test_a_plan_counts_the_work_and_expects_what_the_store_has_noted(tmp_path, animals):
    output, engine = (
        OutputSettings(path=str(tmp_path / "out")), EngineSettings(store=str(tmp_path / "store"))
    )  # fmt: skip
    teachers = (MINILM, BM25)
    mining = MiningSettings(teachers=teachers, negatives=2)
    first = plan_mining(DatasetSettings(**animals), output, mining, engine)
    loads = {node.name: node.load for node in first.nodes if node.load}
    assert (loads["rank-minilm"].amount, loads["rank-minilm"].each) == (36, 72)
    assert not any(map(first.seconds, first.nodes))
    assert "no run has noted it" in " ".join(str(first).split())
    assert not (tmp_path / "store").exists()
    run = Context.of(engine)
    mine_collection(run, ingest(run, DatasetSettings(**animals)), output, mining)
    deeper = mining.model_copy(update={"depth": 30})
    again = plan_mining(DatasetSettings(**animals), output, deeper, engine)
    expected = {node.name: again.seconds(node) for node in again.nodes}
    assert expected["embed-minilm-documents"] is None  # in the store
    assert expected["rank-minilm"] > 0
    assert "36 queries x 72 documents" in str(again)


def test_a_copy_of_a_model_in_another_folder_mines_nothing_anew(tmp_path, animals):
    output, engine = (
        OutputSettings(path=str(tmp_path / "out")), EngineSettings(store=str(tmp_path / "store"))
    )  # fmt: skip
    teacher = small_teacher()
    run, mining = Context.of(engine), MiningSettings(teachers=(teacher,), negatives=2)
    mine_collection(run, ingest(run, DatasetSettings(**animals)), output, mining)
    shutil.copytree(str(teacher.model), tmp_path / "copy")
    moved = teacher.model_copy(update={"model": str(tmp_path / "copy")})
    mining = mining.model_copy(update={"teachers": (moved,)})
    again = plan_mining(DatasetSettings(**animals), output, mining, engine)
    assert [node.name for node in again.nodes if not node.reused] == []
