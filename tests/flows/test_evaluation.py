"""An evaluation of a base alone, of rankings of other systems, and against BM25."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.learning import TrainingRows
from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluatedModel,
    EvaluatedRun,
    EvaluationSet,
    EvaluationSettings,
    OutputSettings,
)
from polymine.evaluation.matrix import compare
from polymine.evaluation.significance import Resampling
from polymine.flows.comparison import measure_arms
from polymine.flows.evaluation import read_sets, run_measures
from polymine.reporting.learning.metrics import name_metric
from polymine.reporting.learning.tables import list_results
from polymine.tasks.evaluation.comparison import ARMS
from polymine.tasks.evaluation.encoding import open_candidates, open_measured
from polymine.tasks.evaluation.gains import read_comparisons
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.reporting.evaluation import report_evaluation
from polymine.tasks.reporting.parts import read_info
from polymine.tasks.store.datasets import load, note_of, open_folder
from polymine.tasks.training.contamination import ROWS
from polymine.training.relations import own_relations, relate
from tests.small import animal_tables, save_small_encoder
from tests.tasks.evaluation.small_sets import PAIRS, run_in, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_set(folder / "animals", *animal_tables())
    save_small_encoder(folder)
    judged = animal_tables()[2]
    lines = [f"{query} Q0 {document} 1 2.5 oracle" for query, document, _ in judged.rows()]
    (folder / "oracle.trec").write_text("\n".join(lines))
    return folder


def write_set(folder: Path, *tables: pl.DataFrame) -> str:
    return write(folder, dict(zip(("corpus", "queries", "qrels"), tables, strict=True)))


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
    assert f"{row['value']:.3f} [{row['low']:.3f}, " in summary["headline"]
    page = (tmp_path / "out/report.html").read_text()
    assert "no interval" not in page  # it has one, of its own figure
    assert "72" in page.partition("What is searched")[2][:2000]
    assert "corpus.parquet" in page.partition("What the files were taken for")[2]
    (file,) = (tmp_path / "out/mteb/results/base").glob("*/animals.json")
    result = json.loads(file.read_text())
    assert result["scores"]["test"][0]["main_score"] == pytest.approx(row["value"])
    assert summary["searched"] == ["animals: 36 queries, 72 documents: all of the set"]


def test_mteb_finds_the_results_in_the_output(folder, tmp_path):
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    chosen = settings(folder, cutoffs=(3,))
    evaluated = run_measures(run_in(folder), chosen)
    report_evaluation(run_in(folder), evaluated, chosen, OutputSettings(path=str(tmp_path / "out")))
    (path,) = mteb.ResultCache(tmp_path / "out/mteb").get_cache_paths()
    found = mteb.TaskResult.from_disk(path)
    figures = {
        row["metric"]: row["value"]
        for row in read_comparisons(evaluated.compared)[0].filter(group="direction").to_dicts()
    }
    (scores,) = found.scores["test"]
    for ours, theirs in (("ndcg", "ndcg_at_10"), ("ndcg@3", "ndcg_at_3"),
                         ("recall@3", "recall_at_3")):  # fmt: skip
        assert scores[theirs] == pytest.approx(figures[ours])


def test_questions_on_one_passage_are_one_proof_in_what_is_reported(folder, tmp_path):
    """Five queries to each document: their intervals are those of `clusters`, and wider."""
    corpus, queries, judged = animal_tables()
    asked = queries.with_columns(pl.int_ranges(0, 5).alias("copy")).explode("copy")
    name = pl.format("{}-{}", "query_id", "copy")
    many = asked.with_columns(query_id=name, text=pl.format("{} {}", "text", "copy"))
    known = judged.with_columns(pl.int_ranges(0, 5).alias("copy")).explode("copy")
    known = known.with_columns(query_id=name).drop("copy")
    path = write_set(tmp_path / "many", corpus, many.drop("copy"), known)
    other = save_small_encoder(tmp_path / "other", seed=3)
    models = (EvaluatedModel(name="other", model=other, dtype="float32"),)
    sets = (EvaluationSet(name="many", path=path),)
    chosen = settings(folder, sets=sets, models=models)
    evaluated = run_measures(run_in(folder), chosen)
    found = read_comparisons(evaluated.compared)[0].filter(group="direction", metric="ndcg")
    base, model = (load(evaluated.measures[name]["many"]) for name in ("base", "other"))
    clusters = open_collection(evaluated.sets["many"]).clusters.with_columns(set=pl.lit("many"))
    width = {}
    for drawn, questions in (("passages", clusters), ("queries", None)):
        rows = compare(base, model, name="other", questions=questions,
                       resampling=Resampling(resamples=200))  # fmt: skip
        row = rows.filter(group="direction", metric="ndcg")
        width[drawn] = row.select(pl.col("high") - pl.col("low")).item()
    shown = found.select(pl.col("high") - pl.col("low")).item()
    assert shown == pytest.approx(width["passages"])
    assert width["passages"] > 1.3 * width["queries"]


def test_a_run_may_be_compressed_and_is_named_where_it_is_no_text(folder, tmp_path):
    whole = (folder / "oracle.trec").read_bytes()
    (tmp_path / "a.trec.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "b.trec").write_bytes(b"\xff\xe9 " + whole)
    packed, broken = (
        EvaluatedRun(name="oracle", set="animals", path=str(tmp_path / name))
        for name in ("a.trec.gz", "b.trec")
    )
    found = means(folder, settings(folder, runs=(packed,)))
    assert dict(found.select("model", "value").rows())["oracle"] == 1.0
    with pytest.raises(InputError, match=r"b\.trec: is not UTF-8"):
        run_measures(run_in(folder), settings(folder, runs=(broken,)))


def test_a_run_of_one_set_hides_nothing_of_the_base_on_another(folder, tmp_path):
    sets = tuple(EvaluationSet(name=name, path=str(folder / "animals")) for name in ("a", "b"))
    ranked = EvaluatedRun(name="oracle", set="b", path=str(folder / "oracle.trec"))
    chosen = settings(folder, sets=sets, runs=(ranked,))
    output = OutputSettings(path=str(tmp_path / "out"))
    evaluated = run_measures(run_in(folder), chosen)
    summary = report_evaluation(run_in(folder), evaluated, chosen, output)
    assert summary["headline"].startswith("nDCG@10 on b ")
    shown = list_results(read_comparisons(evaluated.compared)[0])
    assert [(result.set, result.model) for result in shown] == [("a", "base"), ("b", "oracle")]
    page = (tmp_path / "out/report.html").read_text()
    facts = page.partition('class="facts"')[2].partition("What is searched")[0]
    assert "nDCG@10, a" in facts
    assert "nDCG@10, b" in facts


def test_a_run_stands_beside_a_model_against_the_base(folder):
    other = EvaluatedModel(name="again", model=str(folder / "model"), dtype="float32")
    ranked = EvaluatedRun(name="oracle", set="animals", path=str(folder / "oracle.trec"))
    found = means(folder, settings(folder, models=(other,), runs=(ranked,)))
    values = dict(found.select("model", "value").rows())
    assert values["oracle"] == 1.0
    assert dict(found.select("model", "gain").rows())["again"] == 0.0


def test_several_models_are_compared_with_each_other(folder, tmp_path):
    """A gain over the base does not say which of two is better."""
    again, more = (EvaluatedModel(name=name, model=str(folder / "model"), dtype="float32")
                   for name in ("again", "more"))  # fmt: skip
    ranked = EvaluatedRun(name="oracle", set="animals", path=str(folder / "oracle.trec"))
    said = {}
    for name, chosen in (("best", settings(folder, models=(again, more), runs=(ranked,))),
                         ("alike", settings(folder, models=(again, more)))):  # fmt: skip
        evaluated = run_measures(run_in(folder), chosen)
        output = OutputSettings(path=str(tmp_path / name))
        said[name] = report_evaluation(run_in(folder), evaluated, chosen, output)["headline"]
    assert said["best"].startswith("oracle is best: nDCG@10 on animals ")
    assert said["alike"].startswith("again and more are not told apart; the highest is again: ")
    assert said["alike"].endswith("which is not surely above the base")
    found = pl.read_parquet(tmp_path / "best/differences.parquet").filter(metric="ndcg")
    pairs = {row[:2]: row[2] for row in found.select("arm", "reference", "adjusted").rows()}
    assert set(pairs) == {("oracle", "again"), ("oracle", "more"), ("again", "more")}
    assert max(pairs["oracle", "again"], pairs["oracle", "more"]) < 0.05 < pairs["again", "more"]
    page = (tmp_path / "best/report.html").read_text()
    assert "animals: oracle is best." in page
    assert "What training changed" not in page  # nothing was trained here
    assert (
        "animals: again and more are not told apart."
        in (tmp_path / "alike/report.html").read_text()
    )


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
    path = write_set(tmp_path / "set", pl.concat([corpus, own, twice]), queries, judged)
    chosen = settings(folder, sets=(EvaluationSet(name="own", path=path),))
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


def test_a_run_of_other_ids_is_refused_before_anything_is_encoded(folder, tmp_path):
    lines = [f"{query} Q0 x{document} 1 2.5 x" for query, document, _ in animal_tables()[2].rows()]
    (tmp_path / "other.trec").write_text("\n".join(lines))
    ranked = EvaluatedRun(name="other", set="animals", path=str(tmp_path / "other.trec"))
    said = r"runs.other \(.*/other.trec\): a ranking of animals: 37 of 37 values of doc_id are not"
    fresh = run_in(tmp_path)
    with pytest.raises(InputError, match=said):
        run_measures(fresh, settings(folder, runs=(ranked,)))
    assert not (tmp_path / "store" / "embeddings").exists()


def test_what_is_too_few_unranked_or_unanswered_is_named_and_in_no_mean(folder, tmp_path):
    """Three Russian queries, a run with nothing for six queries, and 16 without an answer."""
    corpus, queries, judged = animal_tables()
    russian = queries.head(3).with_columns(
        query_id=pl.col("query_id") + "ru", language=pl.lit("ru")
    )
    answered = judged.join(queries.head(20), on="query_id", how="semi")
    more = judged.join(queries.head(3), on="query_id", how="semi")
    more = more.with_columns(query_id=pl.col("query_id") + "ru")
    asked = pl.concat([queries, russian])
    path = write_set(tmp_path / "set", corpus, asked, pl.concat([answered, more]))
    ranks = answered.filter(~pl.col("query_id").is_in(queries["query_id"].head(6).implode()))
    lines = [f"{query} Q0 {document} 1 2.5 x" for query, document, _ in ranks.rows()]
    (tmp_path / "part.trec").write_text("\n".join(lines))
    chosen = settings(
        folder,
        sets=(EvaluationSet(name="odd", path=path),),
        runs=(EvaluatedRun(name="part", set="odd", path=str(tmp_path / "part.trec")),),
    )
    evaluated = run_measures(run_in(folder), chosen)
    found = read_comparisons(evaluated.compared)[0].filter(metric="ndcg")
    cells = dict(found.filter(group="direction").select("query_language", "queries").rows())
    assert cells == {"en": 20, "ru": 3}
    assert found.filter(group="all")["queries"].item() == 20  # the three are in no mean
    report_evaluation(run_in(folder), evaluated, chosen, OutputSettings(path=str(tmp_path / "out")))
    said = [note["text"] for note in read_info(tmp_path / "out")["notes"]]
    for text in (
        "odd: 1 direction has fewer than 10 queries and counts in no mean: en-ru (3)",
        "part ranks nothing for 9 queries of odd: they count as 0",
        "odd: 16 queries have no relevant document and are in no figure; 23 have one",
    ):
        assert text in said


def test_directions_that_are_all_too_small_have_no_mean(folder, tmp_path):
    corpus, queries, judged = animal_tables()
    asked = queries.head(12).with_columns(language=pl.Series(["en", "ru"] * 6))
    judged = judged.join(asked, on="query_id", how="semi")
    path = write_set(tmp_path / "set", corpus, asked, judged)
    chosen = settings(folder, sets=(EvaluationSet(name="tiny", path=path),))
    evaluated = run_measures(run_in(folder), chosen)
    found = read_comparisons(evaluated.compared)[0]
    assert set(found["group"]) == {"direction"}
    assert found["low"].min() >= 0  # a figure, not a gain
    output = OutputSettings(path=str(tmp_path / "out"))
    summary = report_evaluation(run_in(folder), evaluated, chosen, output)
    assert summary["headline"] == "all 2 directions of tiny have too few queries for a mean"
    (said,) = (note["text"] for note in read_info(tmp_path / "out")["notes"])
    assert "as have all of them, so there is no mean: en-en (6), en-ru (6)" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing was measured" not in page
    part = page[page.index("Too few queries for a mean") :]
    for row in found.filter(metric="ndcg").iter_rows(named=True):
        assert f'<td class="n">{row["value"]:.3f}</td>' in part


def test_all_figures_are_over_the_queries_that_no_model_has_learned_from(folder, tmp_path):
    """Plain trec_eval's figure and a run of another system lose what the main figure loses."""
    corpus, queries, judged = animal_tables()
    twice = corpus.head(1).with_columns(doc_id=pl.lit("zz-copy"))
    path = write_set(tmp_path / "set", pl.concat([corpus, twice]), queries, judged)
    lines = [f"{query} Q0 {document} 1 2.5 x" for query, document, _ in judged.rows()]
    (tmp_path / "whole.trec").write_text("\n".join(lines))
    learned = queries.head(30)["text"].to_list()
    excluding = settings(
        folder,
        sets=(EvaluationSet(name="seen", path=path, guard="queries"),),
        models=(EvaluatedModel(name="new", model=trained_on(folder, tmp_path, learned)),),
        runs=(EvaluatedRun(name="other", set="seen", path=str(tmp_path / "whole.trec")),),
        contaminated="exclude",
    )
    evaluated = run_measures(run_in(folder), excluding)
    left = set(queries["query_id"]) - set(queries.head(30)["query_id"])
    measured = [
        *(of["seen"] for of in evaluated.measures.values()),
        *evaluated.plain["seen"].values(),
    ]
    assert len(measured) == 5
    assert all(set(load(each)["query_id"]) == left for each in measured)
    assert note_of(evaluated.sets["seen"], SetNote).left_out == 30
    assert any("30 queries left out of all figures" in note.text for note in evaluated.notes)
    base, *models = (open_measured("base", excluding.base), *open_candidates(excluding)[1])
    run, arms = run_in(folder), {"new": {0: models[0]}}
    sets, compared, notes = measure_arms(run, base, arms, read_sets(run, excluding), excluding)
    assert note_of(sets["seen"], SetNote).left_out == 30
    *learned, few = notes
    assert tuple(learned) == evaluated.notes  # told apart from what it learned as any model is
    assert few.text == (
        "seen: 1 direction has fewer than 10 queries, too few to decide by: read its figures as "
        "examples: en-en (6)"
    )
    found = pl.read_parquet(open_folder(compared.path) / ARMS).filter(metric="ndcg", seed=0)
    assert found["base"].item() == pytest.approx(
        load(evaluated.measures["base"]["seen"])["ndcg"].mean()
    )


def trained_on(folder: Path, place: Path, anchors: list[str]) -> str:
    """The folder of a model that says it learned from rows with these anchors."""
    rows = pl.DataFrame({"anchor": anchors}).with_row_index("row").with_columns(
        source=pl.lit("data-0"), anchor_language=pl.lit("en"), positive_language=pl.lit("en"),
        positive=pl.lit("a text that stands nowhere else, whatever"), positive_weight=1.0,
        negatives=pl.lit([], pl.List(pl.String)), weights=pl.lit([], pl.List(pl.Float32)),
        scores=pl.lit([], pl.List(pl.Float32)),
    )  # fmt: skip
    related = relate(rows, own_relations(rows))
    run_in(folder).store.dataset(ROWS, "a" * 32).write_single(related, TrainingRows, info={})
    said = {"base": str(folder / "model"), "routes": {"*": "base"}, "query_prompt": "",
            "document_prompt": "", "fingerprint": "f", "rows": {"mono": "a" * 32}}  # fmt: skip
    (place / "trained").mkdir()
    (place / "trained" / "polymine.json").write_text(json.dumps(said))
    return str(place / "trained")


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
