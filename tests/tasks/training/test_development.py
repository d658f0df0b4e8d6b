"""The development part lies apart from test and training, and is refused where it cannot choose."""

import logging
from dataclasses import replace

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError, ModelError, SettingsError
from polymine.data_contracts.learning import DevelopmentCurve
from polymine.data_contracts.notes import AdapterNote, Chosen, InLanguage
from polymine.data_contracts.settings import (
    DatasetSettings,
    DevelopmentSettings,
    EvaluationSet,
    EvaluationSettings,
    TrainingSettings,
)
from polymine.data_contracts.trained import TrainedModel
from polymine.flows.pipeline import cut_parts
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.store.datasets import Store, load
from polymine.tasks.training.development import read_development, remark_on_shared
from polymine.tasks.training.model import check_strict
from tests.small import animal_tables
from tests.tasks.evaluation.small_sets import PAIRS, run_in, write

HALF = EvaluationSettings(held_out=0.25, development=0.3)


def choosing(**given) -> TrainingSettings:
    return TrainingSettings(development=DevelopmentSettings(**given))


def named(folder, tables=None, name="mine", **given) -> TrainingSettings:
    """Settings that name the animals, or some of their questions, as what chooses."""
    corpus, queries, judgments = tables or animal_tables()
    path = write(folder / name, {"corpus": corpus, "queries": queries, "qrels": judgments})
    chosen = EvaluationSet(name=name, path=path)
    return choosing(**{"set": chosen, "fewest": 5, **given})


def test_three_parts_share_nothing_and_what_trains_is_what_is_left(animals, tmp_path):
    run, dataset = run_in(tmp_path), DatasetSettings(**animals)
    whole = ingest(run, dataset)
    evaluation, training, left, notes = cut_parts(run, whole, dataset, choosing(fewest=5), HALF)
    assert notes == ()
    sets = {each.name: read_set(run, each, 0) for each in evaluation.sets}
    found = read_development(run, training, evaluation, sets)
    parts = [open_collection(sets["held-out"]), open_collection(found.whole)]
    asked = [set(part.queries["query_id"]) for part in parts] + [
        set(load(left.queries)["query_id"])
    ]
    answers = [set(part.relevant["doc_id"]) for part in parts] + [
        set(load(left.documents)["doc_id"])
    ]
    for one in range(3):
        assert asked[one]
        for other in range(one):
            assert not asked[one] & asked[other]
            assert not answers[one] & answers[other]
    assert set.union(*asked) == set(load(whole.queries)["query_id"])
    assert not set(parts[1].documents["doc_id"]) & answers[0]
    assert TrainingSettings.model_validate_json(training.model_dump_json()) == training
    again = cut_parts(run, whole, dataset, choosing(fewest=5), HALF)[1]
    assert again == training


def test_too_few_questions_cut_nothing_and_say_so(animals, tmp_path):
    run, dataset = run_in(tmp_path), DatasetSettings(**animals)
    whole = ingest(run, dataset)
    plain, evaluation = TrainingSettings(), EvaluationSettings(held_out=0.0)
    _, training, left, (note,) = cut_parts(run, whole, dataset, plain, evaluation)
    assert (training, left) == (plain, whole)
    assert "about 4 questions, and fewer than 50 are too few" in note.text
    with pytest.raises(SettingsError, match=r"strict: No development part was kept apart"):
        cut_parts(run, whole, dataset, choosing(strict=True), evaluation)
    none = EvaluationSettings(held_out=0.0, development=0.0)
    assert cut_parts(run, whole, dataset, plain, none)[2:] == (whole, ())
    with pytest.raises(SettingsError, match="there is no development part to hold the model"):
        cut_parts(run, whole, dataset, choosing(strict=True), none)


def test_what_is_looked_at_is_bounded_and_says_of_how_much(tmp_path):
    training = named(tmp_path, queries=12, documents=20)
    found = read_development(run_in(tmp_path), training, EvaluationSettings(), {})
    drawn = open_collection(found.drawn)
    assert (drawn.queries.height, drawn.documents.height) == (12, 20)
    assert drawn.answered == 12
    assert found.of_documents == 72
    assert found.name == "mine"


def test_each_language_is_asked_enough(tmp_path):
    corpus, queries, judgments = animal_tables()

    def translated(table: pl.DataFrame, key: str) -> pl.DataFrame:
        ended = (pl.concat_str("text", pl.lit(" (de)")), pl.concat_str(key, pl.lit("-de")))
        both = pl.concat([table, table.with_columns(*ended, language=pl.lit("de"))])
        return both.with_columns(group_id=pl.col(key).str.strip_suffix("-de"))

    tables = (translated(corpus, "doc_id"), translated(queries, "query_id"), judgments)
    training = named(tmp_path, tables, queries=10, fewest=20)
    found = read_development(run_in(tmp_path), training, EvaluationSettings(), {})
    drawn = open_collection(found.drawn)
    assert (drawn.answered, drawn.queries.height) == (20, 40)


def test_a_set_that_cannot_choose_is_refused(tmp_path):
    run, evaluation = run_in(tmp_path), EvaluationSettings()
    with pytest.raises(SettingsError, match=r"`mine`: has 36 questions .* fewer than 50"):
        read_development(run, named(tmp_path, fewest=50), evaluation, {})
    with pytest.raises(SettingsError, match="there is no development part to hold the model"):
        read_development(run, choosing(strict=True), evaluation, {})
    scored = write(
        tmp_path / "sts", {"pairs": PAIRS.with_columns(score=pl.Series([1.0, 0.5, 0.2]))}
    )
    pairs = choosing(set=EvaluationSet(name="sts", path=scored))
    with pytest.raises(SettingsError, match="`sts`: is a set of similarity"):
        read_development(run, pairs, evaluation, {})
    training = named(tmp_path)
    sets = {"mine": read_set(run, training.development.set, 0)}
    with pytest.raises(SettingsError, match=r"evaluation\.sets` has this name"):
        read_development(run, training, evaluation, sets)
    assert read_development(run, TrainingSettings(), evaluation, {}) is None


def test_questions_that_the_test_asks_are_refused_left_out_or_reported(tmp_path, caplog):
    """Half of them; that both search the same documents is no fault."""
    run, evaluation = run_in(tmp_path), EvaluationSettings()
    corpus, queries, judgments = animal_tables()
    own = judgments.join(queries[::2], on="query_id", how="semi")
    tested = named(tmp_path, (corpus, queries[::2], own), "test").development.set
    sets = {"test": read_set(run, tested, 0)}
    training = named(tmp_path)
    with pytest.raises(InputError, match=r"`mine`: 18 of its 36 queries are also asked by test"):
        read_development(run, training, evaluation, sets)
    excluding = training.model_copy(update={"contaminated": "exclude"})
    with caplog.at_level(logging.WARNING, "polymine.training"):
        left = read_development(run, excluding, evaluation, sets)
    said = "mine: 18 queries of this development part that an evaluation set asks, too, were "
    assert f"{said}left out" in caplog.text
    assert [note.text for note in remark_on_shared(left)] == [f"{said}left out"]
    assert not set(open_collection(left.drawn).queries["query_id"]) & set(queries[::2]["query_id"])
    reporting = training.model_copy(update={"contaminated": "report"})
    kept = read_development(run, reporting, evaluation, sets)
    assert open_collection(kept.drawn).queries.height == 36
    (note,) = remark_on_shared(kept)
    assert note.text.startswith(f"{said}kept: figures of that set were chosen by")
    assert remark_on_shared(read_development(run, training, evaluation, {})) == ()


def test_strict_refuses_what_a_language_uses_below_the_base_or_unmeasured(tmp_path, caplog):
    chosen = Chosen(
        questions=54, documents=9, of_documents=9, step=4, scale=1.0, ndcg=0.4, base=0.5,
        looks=2, seconds=1.0, stopped=False,
    )  # fmt: skip
    about = {"rows": {"data-0 | ru | fa": 9}, "shares": {}, "steps": 4, "tokens": 9, "closed": 0,
             "seconds": 1.0, "parents": 0, "device": "cpu"}  # fmt: skip
    above = replace(chosen, ndcg=0.5)
    russian = InLanguage("ru", 50, 0.41, 0.42, enough=True)
    falling = (InLanguage("en", 60, 0.6, 0.5, enough=True), russian)
    few = replace(russian, enough=False)
    cases = {
        "below": chosen, "above": above, "unseen": None,
        "falling": replace(above, languages=falling),
        "small": replace(above, languages=(*falling[:1], few)),
    }  # fmt: skip
    made = {}
    for name, found in cases.items():
        note = AdapterNote(**about, chosen=found)
        place = Store(str(tmp_path)).dataset("adapters", f"{name:f<32}")
        empty = DevelopmentCurve.create_empty()
        made[name] = place.write_single(empty, DevelopmentCurve, info=note.model_dump(mode="json"))

    def check(name: str, strict: bool = True) -> None:
        model = TrainedModel(base="b", routes={"*": name}, fingerprint="f")
        check_strict(choosing(strict=strict), model, made)

    check("above")
    check("below", strict=False)
    with pytest.raises(ModelError, match=r"0\.4000 .* below the base.s 0\.5000 \(54"):
        check("below")
    with pytest.raises(ModelError, match=r"queries \(nDCG@10\): ru 0\.4100, .* 0\.4200 \(50 q"):
        check("falling")
    check("falling", strict=False)
    caplog.clear()
    check("small")
    assert caplog.messages == [
        "step small: not held against the base, with fewer than 50 questions of the development "
        "part: queries in fa (0), ru (50)"
    ]
    with pytest.raises(ModelError, match="unseen: the development part has too few questions"):
        check("unseen")
