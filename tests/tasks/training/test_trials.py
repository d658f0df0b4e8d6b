"""The development part chooses how sure a promoted positive has to be, and says by what."""

import logging

import polars as pl
import pytest
from pydantic import ValidationError

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.notes import AdapterNote
from polymine.data_contracts.settings import (
    AdaptedModel,
    DevelopmentSettings,
    EngineSettings,
    EvaluationSet,
    EvaluationSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.flows.training import run_steps
from polymine.tasks.engine.context import planning
from polymine.tasks.store.datasets import load, note_of
from polymine.tasks.training.trials import check_trials, trials
from tests.small import animal_tables
from tests.tasks.evaluation.small_sets import run_in, write

WEIGHED = (1.0, 1.0, 0.95, 0.7, 0.7, 0.6, 0.5)  # of the triplets' positives, again and again


def triplets(folder, weighed=WEIGHED) -> str:
    _, queries, judgments = animal_tables()
    corpus, _, _ = animal_tables()
    rows = (
        judgments.join(queries.select("query_id", anchor="text"), on="query_id")
        .join(corpus.select("doc_id", positive="text"), on="doc_id")
        .sort("query_id", "doc_id")
        .with_row_index("at")
    )
    weights = [weighed[at % len(weighed)] for at in range(rows.height)]
    table = rows.select("anchor", "positive").with_columns(
        positive_weight=pl.Series(weights, dtype=pl.Float32), anchor_language=pl.lit("en"),
        positive_language=pl.lit("en"),
    )  # fmt: skip
    table.write_parquet(folder / "triplets.parquet")
    return str(folder / "triplets.parquet")


def settings(folder, base, least, weighed=WEIGHED, **development) -> TrainingSettings:
    corpus, queries, judgments = animal_tables()
    path = write(folder / "dev", {"corpus": corpus, "queries": queries, "qrels": judgments})
    asked = EvaluationSet(name="dev", path=path, guard="queries")
    step = StepSettings(
        name="mono", loss=LossSettings(negatives=0),
        data=(TrainingData(triplets=triplets(folder, weighed), min_positive_weight=least),),
        schedule=ScheduleSettings(steps=4, batch=4, mini_batch=4, learning_rate=5e-3),
    )  # fmt: skip
    own = DevelopmentSettings(**{"set": asked, "fewest": 5, "never_below_base": False}
                              | development)  # fmt: skip
    return TrainingSettings(
        base=AdaptedModel(model=base, dtype="float32"), steps=(step,), development=own,
        contaminated="report",
    )  # fmt: skip


def test_the_best_trial_is_kept_as_its_number_alone_would_give_it(base, tmp_path):
    run = run_in(tmp_path)
    trained = run_steps(run, settings(tmp_path, base, "development"), EvaluationSettings())
    counts, scores = {}, {}
    for least in (1.0, 0.9, 0.7, 0.5):
        alone = run_steps(run, settings(tmp_path, base, least), EvaluationSettings())
        assert alone.made["mono"].reused  # what was tried is what the number makes
        counts[least] = alone.rows["mono"].rows
        scores[least] = note_of(alone.made["mono"], AdapterNote).chosen.ndcg
        assert (
            load(alone.rows["mono"])["positive_weight"].min()
            >= pl.Series([least]).cast(pl.Float32).item()
        )
    assert sorted(set(counts.values())) == list(counts.values())  # each adds rows
    best = max(scores, key=lambda least: (scores[least], least))
    (kept,) = trained.steps
    assert (kept.name, kept.data[0].min_positive_weight) == ("mono", best)
    assert trained.rows["mono"].rows == counts[best]
    (note,) = [note for note in trained.notes if note.text.startswith("Step mono")]
    for least, score in scores.items():
        assert f" {least:g}: {score:.3f}" in note.text
    assert set(trained.made) == set(trained.rows) == {"mono"}
    assert trained.model.steps[0]["data"][0]["min_positive_weight"] == best


def test_a_number_that_adds_no_row_or_leaves_too_few_is_not_tried(base, tmp_path, caplog):
    run = run_in(tmp_path)
    sure = settings(tmp_path, base, "development", weighed=(0.95, 0.6))
    with caplog.at_level(logging.WARNING, "polymine.training"):
        trained = run_steps(run, sure, EvaluationSettings())
    assert "mono_100 is not tried: step mono_100: part 1 of its data has no rows left" in (
        caplog.text
    )
    (note,) = [note for note in trained.notes if note.text.startswith("Step mono")]
    assert [f" {least:g}: " in note.text for least in (1, 0.9, 0.7, 0.5)] == [
        False, True, False, True,
    ]  # fmt: skip
    one = settings(tmp_path, base, "development", weighed=(1.0,))
    trained = run_steps(run, one, EvaluationSettings())
    assert trained.steps[0].data[0].min_positive_weight == 1.0
    none = settings(tmp_path, base, "development", weighed=(0.4,))
    with pytest.raises(InputError, match="has no rows left"):
        run_steps(run, none, EvaluationSettings())


def test_what_cannot_choose_is_refused_before_training(base, tmp_path):
    asked = settings(tmp_path, base, "development")
    with pytest.raises(SettingsError, match="needs a development part with 5 questions"):
        check_trials(asked, None)
    check_trials(settings(tmp_path, base, 0.7), None)
    with pytest.raises(ValidationError, match="`min_positive_weight` is for `triplets`"):
        TrainingData(parallel="x", min_positive_weight=0.5)
    with pytest.raises(ValidationError):
        TrainingData(triplets="x", min_positive_weight=1.5)


def test_parts_are_tried_together_and_numbers_stay():
    mined, sure = (TrainingData(triplets="x", min_positive_weight=v) for v in ("development", 0.8))
    step = StepSettings(name="a", data=(mined, sure, mined))
    tried = trials(step)
    assert [one.name for one in tried] == ["a_100", "a_90", "a_70", "a_50"]
    assert [part.min_positive_weight for part in tried[2].data] == [0.7, 0.8, 0.7]
    assert trials(tried[0]) == (tried[0],)


def with_step(asked: TrainingSettings, *further: StepSettings, **data: object) -> TrainingSettings:
    """The same with other data of its step, and with further steps."""
    (step,) = asked.steps
    parts = tuple(part.model_copy(update=data) for part in step.data)
    steps = (step.model_copy(update={"data": parts}), *further)
    return asked.model_copy(update={"steps": steps})


def test_a_limit_does_not_hide_that_numbers_choose_other_rows(base, tmp_path):
    run = run_in(tmp_path)
    asked = with_step(settings(tmp_path, base, "development"), limit=6)
    trained = run_steps(run, asked, EvaluationSettings())
    (note,) = [note for note in trained.notes if note.text.startswith("Step mono")]
    assert [f" {least:g}: " in note.text for least in (1, 0.9, 0.7, 0.5)] == [True] * 4


def test_no_step_is_taken_for_a_trial_of_another(base, tmp_path):
    run = run_in(tmp_path)
    asked = settings(tmp_path, base, "development")
    other = settings(tmp_path, base, None).steps[0].model_copy(update={"name": "mono-90"})
    alone = run_steps(run, asked, EvaluationSettings())
    trained = run_steps(run, with_step(asked, other), EvaluationSettings())
    assert trained.made["mono"].fingerprint == alone.made["mono"].fingerprint
    assert trained.notes == alone.notes
    assert trained.rows["mono-90"].rows == 37


def test_what_is_told_is_the_number_that_was_tried(base, tmp_path):
    """A part with a number of its own keeps it, and it is not what the others are told by."""
    asked = settings(tmp_path, base, "development")
    (step,) = asked.steps
    (tried,) = step.data
    both = (tried, tried.model_copy(update={"min_positive_weight": 0.7}))
    step = step.model_copy(update={"data": both})
    run = run_in(tmp_path)
    trained = run_steps(run, asked.model_copy(update={"steps": (step,)}), EvaluationSettings())
    (note,) = [note for note in trained.notes if note.text.startswith("Step mono")]
    assert [note.text.count(f" {least:g}: ") for least in (1, 0.9, 0.7, 0.5)] == [1] * 4


@pytest.mark.parametrize("first", [1.0, 0.5])
def test_a_plan_finds_what_was_picked(base, tmp_path, monkeypatch, first):
    """Whichever is tried first: one of the two orders does not begin with the best."""
    monkeypatch.setattr("polymine.tasks.training.trials.LEAST", (first, 1.5 - first))
    training = settings(tmp_path, base, "development")
    trained = run_steps(run_in(tmp_path), training, EvaluationSettings())
    with planning(EngineSettings(store=str(tmp_path / "store"), threads=1)) as run:
        planned = run_steps(run, training, EvaluationSettings())
    assert planned.steps == trained.steps
    assert planned.assembled.reused


def test_what_cannot_be_held_against_the_base_is_refused_before_it_is_trained(base, tmp_path):
    asked = settings(tmp_path, base, None, strict=True)
    step = asked.steps[0].model_copy(update={"languages": ("ru",)})  # of which it asks nothing
    run = run_in(tmp_path)
    with pytest.raises(SettingsError, match=r"step mono: `training\.development\.strict` needs"):
        run_steps(run, asked.model_copy(update={"steps": (step,)}), EvaluationSettings())
    assert not any(node.name.startswith("train") for node in run.graph.nodes)
