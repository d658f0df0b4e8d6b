"""Lists of a real run: equal to what its tables say, with what its validator said."""

import shutil

import polars as pl
import pytest

import polymine
from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.settings import EngineSettings
from polymine.mining.lists import KEYS
from polymine.tasks.runs import lists as lists_of_runs
from tests.small import BM25, animal_tables, small_teacher, small_validator


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> polymine.Run:
    """The animals under a validator; one relevant pair is known by a label alone."""
    place = tmp_path_factory.mktemp("lists")
    corpus, queries, judgments = animal_tables()
    labels = pl.DataFrame({"query_id": ["owl-food?"], "doc_id": ["owl-care"], "relevance": [1]})
    return polymine.mine(
        corpus=corpus, queries=queries, judgments=judgments, labels=labels,
        output=place / "run", engine=EngineSettings(store=str(place / "store"), threads=1),
        teachers=[small_teacher().model_dump(), BM25.model_dump()], negatives=3, depth=10,
        validation=small_validator().model_dump(), max_false_negative_rate=0.0005,
    )  # fmt: skip


def test_lists_say_what_the_tables_of_the_run_say(run):
    lists = run.lists(4)
    by_verdict = {
        str(verdict): rows.select(KEYS).sort(KEYS)
        for (verdict,), rows in lists.partition_by("verdict", as_dict=True).items()
    }
    negatives = run.negatives.filter(verdict="negative")
    assert by_verdict["known"].equals(run.read("positives").select(KEYS).sort(KEYS))
    assert by_verdict["negative"].equals(negatives.select(KEYS).sort(KEYS))
    assert by_verdict["promoted"].equals(run.promoted.select(KEYS).sort(KEYS))
    assert {"excluded", "unused"} <= set(by_verdict)
    ordered = lists.filter(verdict="negative").sort("query_id", "place")
    assert ordered["doc_id"].equals(negatives.sort("query_id", "position")["doc_id"])
    told = lists.join(run.evidence, on=KEYS, how="inner", suffix="_told")
    assert told["score_small"].equals(told["score_small_told"])
    assert told["risk"].equals(told["risk_told"])


def test_the_validators_logits_are_kept_for_positives_too(run):
    logits, known = run.read("logits"), run.read("positives")
    asked = run.negatives.drop_nulls("validator_score").select(*KEYS, "validator_score")
    both = asked.join(logits, on=KEYS, how="left", suffix="_kept")
    assert both["validator_score"].equals(both["validator_score_kept"].rename("validator_score"))
    read = known.join(logits, on="query_id", how="semi")
    assert read.height
    assert read.join(logits, on=KEYS, how="anti").is_empty()
    told = run.lists().filter(verdict="known").join(logits, on="query_id", how="semi")
    assert told["validator_score"].null_count() == 0


def test_blocks_of_queries_change_nothing(run, monkeypatch):
    whole = run.lists(5)
    monkeypatch.setattr(lists_of_runs, "QUERIES_PER_FILE", 7)
    assert run.lists(5).equals(whole)


def test_a_run_without_the_tables_is_named(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "risks")
    with pytest.raises(StoreError, match="risks: missing or not as the run wrote it"):
        polymine.open(tmp_path / "old").lists()
