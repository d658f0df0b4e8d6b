"""An evaluation of a base alone, of rankings of other systems, and against BM25."""

import json
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluatedModel,
    EvaluatedRun,
    EvaluationSet,
    EvaluationSettings,
    OutputSettings,
)
from polymine.flows.evaluation import run_measures
from polymine.reporting.learning.metrics import name_metric
from polymine.tasks.evaluation.gains import read_comparisons
from polymine.tasks.reporting.learning import report_evaluation
from polymine.tasks.reporting.parts import read_info
from polymine.tasks.store.datasets import note_of
from tests.small import animal_tables, save_small_encoder
from tests.tasks.evaluation.small_sets import PAIRS, run_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "animals").mkdir()
    for name, table in zip(("corpus", "queries", "qrels"), animal_tables(), strict=True):
        table.write_parquet(folder / "animals" / f"{name}.parquet")
    save_small_encoder(folder)
    judged = animal_tables()[2]
    lines = [f"{query} Q0 {document} 1 2.5 oracle" for query, document, _ in judged.rows()]
    (folder / "oracle.trec").write_text("\n".join(lines))
    return folder


def settings(folder: Path, **changed: object) -> EvaluationSettings:
    own = EvaluationSet(name="animals", path=str(folder / "animals"))
    base = EncoderSettings(model=str(folder / "model"), dtype="float32")
    return EvaluationSettings(**{"sets": (own,), "base": base, "resamples": 200, **changed})


def means(folder: Path, chosen: EvaluationSettings, metric: str = "ndcg") -> pl.DataFrame:
    found = read_comparisons(run_measures(run_in(folder), chosen).compared)[0]
    return found.filter(group="direction", metric=metric)


def test_a_base_alone_is_measured_with_intervals_of_its_figures(folder, tmp_path):
    chosen = settings(folder)
    evaluated = run_measures(run_in(folder), chosen)
    row = read_comparisons(evaluated.compared)[0].filter(metric="ndcg").row(0, named=True)
    assert (row["model"], row["base"]) == ("base", 0.0)
    assert row["low"] < row["value"] < row["high"]
    output = OutputSettings(path=str(tmp_path / "out"))
    summary = report_evaluation(run_in(folder), evaluated, chosen, output)
    assert f"{row['value']:.3f} [" in summary["headline"]
    page = (tmp_path / "out/report.html").read_text()
    assert "72" in page.partition("What is searched")[2][:2000]
    result = json.loads((tmp_path / "out/mteb/base/animals.json").read_text())
    assert result["scores"]["test"][0]["main_score"] == pytest.approx(row["value"])


def test_a_run_stands_beside_a_model_against_the_base(folder):
    other = EvaluatedModel(name="again", model=str(folder / "model"), dtype="float32")
    ranked = EvaluatedRun(name="oracle", set="animals", path=str(folder / "oracle.trec"))
    found = means(folder, settings(folder, models=(other,), runs=(ranked,)))
    values = dict(found.select("model", "value").rows())
    assert values["oracle"] == 1.0
    assert dict(found.select("model", "gain").rows())["again"] == 0.0


def test_bm25_is_what_all_are_compared_with(folder):
    found = means(folder, settings(folder, baseline="bm25")).row(0, named=True)
    assert found["model"] == "untouched"
    assert found["base"] > 0.5  # questions name the animal
    assert found["base"] > found["value"]


def test_what_cannot_be_ranked_is_refused(folder, tmp_path):
    ranked = EvaluatedRun(name="oracle", set="other", path=str(folder / "oracle.trec"))
    with pytest.raises(SettingsError, match="ranks the set other, and the sets are animals"):
        run_measures(run_in(folder), settings(folder, runs=(ranked,)))
    pairs = PAIRS.with_columns(score=pl.Series([1.0, 2.0, 3.0]))
    pairs.write_parquet(tmp_path / "pairs.parquet")
    similar = EvaluationSet(name="sts", path=str(tmp_path / "pairs.parquet"))
    with pytest.raises(SettingsError, match="bm25 ranks documents, and sts is a set of similarity"):
        run_measures(run_in(folder), settings(folder, sets=(similar,), baseline="bm25"))


def test_copies_and_own_documents_are_told_with_plain_trec_evals_figure(folder, tmp_path):
    """As in Quora: every question is a document too, and one document stands there twice."""
    corpus, queries, judged = animal_tables()
    own = queries.select(doc_id=pl.col("query_id") + "own", text="text", language="language")
    twice = corpus.head(1).with_columns(doc_id=pl.lit("zz-copy"))
    (tmp_path / "set").mkdir()
    for name, table in (("corpus", pl.concat([corpus, own, twice])), ("queries", queries),
                        ("qrels", judged)):  # fmt: skip
        table.write_parquet(tmp_path / "set" / f"{name}.parquet")
    chosen = settings(folder, sets=(EvaluationSet(name="own", path=str(tmp_path / "set")),))
    evaluated = run_measures(run_in(folder), chosen)
    note = note_of(evaluated.sets["own"], SetNote)
    assert (note.merged, note.own) == (1, queries.height)
    report_evaluation(run_in(folder), evaluated, chosen, OutputSettings(path=str(tmp_path / "out")))
    (said,) = (n["text"] for n in read_info(tmp_path / "out")["notes"] if "Plain" in n["text"])
    assert f"1 document merged into others of equal text, {queries.height} documents" in said
    plain = chosen.sets[0].model_copy(update={"copies": "keep", "own_document": "rank"})
    departing = chosen.model_copy(update={"sets": (plain,)})
    assert f"{means(folder, departing)['value'].item():.3f} for base" in said
    theirs, ours = (means(folder, each, "map")["value"].item() for each in (departing, chosen))
    assert theirs < ours  # every query finds itself first
    lines = [f"{query} Q0 {document} 1 1.0 x" for query, document, _ in judged.rows()]
    lines.append(f"{queries['query_id'][0]} Q0 zz-copy 2 2.0 x")  # ranked where all stand apart
    (tmp_path / "other.trec").write_text("\n".join(lines))
    ranked = EvaluatedRun(name="other", set="own", path=str(tmp_path / "other.trec"))
    beside = means(folder, chosen.model_copy(update={"runs": (ranked,)}))
    assert beside.filter(model="other")["value"].item() == 1.0


def test_further_cut_offs_stand_beside_the_first(folder):
    ranked = EvaluatedRun(name="oracle", set="animals", path=str(folder / "oracle.trec"))
    chosen = settings(folder, cutoffs=(1, 50), runs=(ranked,))
    found = read_comparisons(run_measures(run_in(folder), chosen).compared)[0]
    value = dict(found.filter(group="direction").select("metric", "base").rows())
    assert set(value) == {
        "ndcg",
        "recall",
        "mrr",
        "map",
        "ndcg@1",
        "recall@1",
        "ndcg@50",
        "recall@50",
    }
    assert value["recall@1"] <= value["recall"] <= value["recall@50"]
    assert name_metric("recall@50", 10) == "recall@50"
