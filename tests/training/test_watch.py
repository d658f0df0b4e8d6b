"""A development part chooses the step and the scale, resumed or not, and never what harms."""

from math import ceil

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.settings import (
    AdaptedModel,
    DevelopmentSettings,
    LoraSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.evaluation.collection import EvaluationCollection
from polymine.training import adapters
from polymine.training.adapters import AdapterStack
from polymine.training.development import Part
from polymine.training.trainer import train_step
from polymine.training.watch import Point, Watch, looks_every
from tests.training.test_trainer import WORDS, Killed, KilledAt, make_rows, same, weights


def questions(language="en") -> EvaluationCollection:
    """A question about each word, and a document that answers it among some that do not."""
    asked = [(f"q-{word}", f"tell me of a {word}", language) for word in WORDS]
    told = [(f"d-{word}", f"so much on a {word} here", language) for word in WORDS]
    rest = [(f"e-{word}", f"tell me of no {word}", language) for word in WORDS]
    pairs = [(f"q-{word}", f"d-{word}", 1) for word in WORDS]
    return EvaluationCollection(
        pl.DataFrame([*told, *rest], ["doc_id", "text", "language"], orient="row"),
        pl.DataFrame(asked, ["query_id", "text", "language"], orient="row"),
        pl.DataFrame(pairs, ["query_id", "doc_id", "relevance"], orient="row"),
    )


def harmful_rows() -> pl.DataFrame:
    """Rows that teach every word another one's document, and its own as a negative."""
    return make_rows().with_columns(
        anchor=pl.format("tell me of a {}", pl.Series(WORDS)),
        positive=pl.format("tell me of no {}", pl.Series([*WORDS[1:], WORDS[0]])),
        negatives=pl.concat_list(*2 * [pl.format("so much on a {} here", pl.Series(WORDS))]),
        positive_weight=pl.lit(1.0, pl.Float32),
    )


def plan(base: str, steps=8, **development) -> tuple[StepSettings, TrainingSettings]:
    """The rate is constant, so that a shorter training is the beginning of a longer one."""
    schedule = ScheduleSettings(
        steps=steps, batch=4, mini_batch=4, learning_rate=5e-3, decay="constant", warmup=0
    )
    step = StepSettings(
        name="mono", schedule=schedule, lora=LoraSettings(rank=4),
        loss=LossSettings(negatives=2),
    )  # fmt: skip
    call = AdaptedModel(model=base, dtype="float32")
    own = DevelopmentSettings(**{"every": 2, "fewest": 12, **development})
    return step, TrainingSettings(base=call, checkpoint_steps=2, development=own)


def train(step, training, rows, folder, collection=None, progress=None, stack=AdapterStack()):
    return train_step(
        step, rows, training, checkpoints=folder, fingerprint="s", progress=progress, stack=stack,
        development=collection or questions(),
    )  # fmt: skip


def test_the_best_step_is_kept_as_training_to_there_would_give_it(base, tmp_path):
    step, training = plan(base, never_below_base=False)
    made = train(step, training, make_rows(), tmp_path / "1")
    steps = made.looks.filter(pl.col("scale") == 1, language="*")
    assert steps["step"].to_list() == [0, 2, 4, 6, 8]
    best = steps.filter(pl.col("step") > 0).sort(-pl.col("ndcg"), "step").row(0, named=True)
    assert (made.chosen.step, made.chosen.ndcg) == (best["step"], best["ndcg"])
    assert made.chosen.base == steps["ndcg"][0]
    assert made.chosen.questions == len(WORDS)
    part = Part.of(questions(), step, training, half=False)
    assert part.score(made.encoder)["*"] == pytest.approx(made.chosen.ndcg)
    shorter, _ = plan(base, steps=made.chosen.step)
    alone = train_step(shorter, make_rows(), training, checkpoints=tmp_path / "2", fingerprint="s")
    assert alone.chosen is None
    assert same(weights(alone), weights(made))


def test_what_harms_ends_at_the_base_unless_it_may_not(base, tmp_path):
    step, training = plan(base)
    made = train(step, training, harmful_rows(), tmp_path / "1")
    assert (made.chosen.step, made.chosen.ndcg) == (0, made.chosen.base)
    assert all(not value.any() for key, value in weights(made).items() if ".lora_B." in key)
    looked = made.looks.filter(language="*")
    assert looked.filter(pl.col("scale") == 0.5).height == 1
    assert looked["ndcg"].max() == made.chosen.base
    free = plan(base, never_below_base=False)[1]
    harmed = train(step, free, harmful_rows(), tmp_path / "2")
    assert harmed.chosen.step > 0
    assert harmed.chosen.ndcg < harmed.chosen.base


def test_half_of_an_adapter_is_half_of_its_update(base, tmp_path, monkeypatch):
    """Scores are made up here, so that the half is best; the weights are real."""
    whole = train(*plan(base, never_below_base=False), make_rows(), tmp_path / "1")
    scores = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.1])
    monkeypatch.setattr(Part, "score", lambda *_: {"*": next(scores), "en": 0.5})
    step, training = plan(base)
    half = train(step, training, make_rows(), tmp_path / "2")
    assert (half.chosen.step, half.chosen.scale) == (8, 0.5)
    full = train_step(step, make_rows(), training, checkpoints=tmp_path / "3", fingerprint="s")
    for key, value in weights(full).items():
        assert torch.equal(weights(half)[key], value * (0.5 if ".lora_B." in key else 1))
    assert whole.chosen.scale == 1


def test_the_mean_of_the_last_looks_may_win_resumed_or_not(base, tmp_path, monkeypatch):
    """Scores are made up here, so that the mean is best; the weights are real."""
    ends = {}
    for steps in (6, 8):  # a constant rate: a shorter training is the beginning of a longer one
        alone, training = plan(base, steps=steps)
        ends[steps] = weights(
            train_step(
                alone, make_rows(), training, checkpoints=tmp_path / str(steps), fingerprint="s"
            )
        )
    step, training = plan(base)  # looks at 0, 2, 4, 6 and 8; then at half the scale and the mean
    scores = iter([0.1, 0.2, 0.3, 0.2, 0.2, 0.2, 0.9])
    monkeypatch.setattr(Part, "score", lambda *_: {"*": next(scores), "en": 0.5})
    with pytest.raises(Killed):
        train(step, training, make_rows(), tmp_path / "cut", progress=KilledAt(7))
    made = train(step, training, make_rows(), tmp_path / "cut")
    assert (made.chosen.step, made.chosen.scale, made.chosen.averaged) == (8, 1.0, 2)
    assert made.chosen.ndcg == 0.9
    for key, value in weights(made).items():
        torch.testing.assert_close(value, (ends[6][key] + ends[8][key]) / 2)
    assert made.looks.filter(averaged=2, language="*")["ndcg"].to_list() == [0.9]


def asked_in(*languages: str) -> EvaluationCollection:
    each = [questions(language) for language in languages]

    def told(name: str, *ids: str) -> pl.DataFrame:
        ended = [
            getattr(one, name).with_columns(pl.format("{}-{}", key, pl.lit(language)).alias(key)
                                            for key in ids)
            for one, language in zip(each, languages, strict=True)
        ]  # fmt: skip
        return pl.concat(ended)

    return EvaluationCollection(
        told("documents", "doc_id"), told("queries", "query_id"),
        told("judgments", "query_id", "doc_id"),
    )  # fmt: skip


@pytest.mark.parametrize("choice", [True, "languages"])
def test_what_is_below_in_no_language_may_come_first(base, tmp_path, monkeypatch, choice):
    """Scores are made up here, so that the highest mean is where one language falls."""
    points = [(0.5, 0.5), (0.9, 0.4), (0.6, 0.5), (0.7, 0.4), (0.6, 0.49), (0.8, 0.4), (0.4, 0.9)]

    def scores():
        yield from ({"*": (en + ru) / 2, "en": en, "ru": ru} for en, ru in points)

    step, training = plan(base, never_below_base=choice)  # 0, 2, 4, 6, 8, half, mean
    whole = asked_in("en", "ru")
    made = []
    for folder, ends in (("whole", None), ("cut", 7)):
        left = scores()
        monkeypatch.setattr(Part, "score", lambda *_: next(left))  # noqa: B023
        if ends:
            with pytest.raises(Killed):
                train(step, training, make_rows(), tmp_path / folder, whole, KilledAt(ends))
        made.append(train(step, training, make_rows(), tmp_path / folder, whole))
    first, resumed = made
    assert first.chosen.step == (4 if choice == "languages" else 2)
    assert [(one.language, one.ndcg, one.base) for one in first.chosen.languages] == (
        [("en", 0.6, 0.5), ("ru", 0.5, 0.5)]
        if choice == "languages"
        else [("en", 0.9, 0.5), ("ru", 0.4, 0.5)]
    )
    assert [one.language for one in first.chosen.below] == ([] if choice == "languages" else ["ru"])
    assert same(weights(first), weights(resumed))
    assert resumed.chosen.languages == first.chosen.languages


def test_a_language_with_few_questions_is_not_held_against_the_base(base):
    step, training = plan(base, fewest=12)
    whole = asked_in("en", "ru")
    few = whole.ask(whole.queries.filter(~pl.col("query_id").str.contains("fox-ru")))
    part = Part.of(few, step, training, half=False)
    assert part.asked == {"en": 12, "ru": 11}
    watch = Watch(part, training.development, adapters.load_base(base, device="cpu"), 8, 2, True)
    watch.points.append(Point(0, 1.0, {"*": 0.5, "en": 0.5, "ru": 0.5}))
    held = watch._by_language(Point(2, 1.0, {"*": 0.5, "en": 0.6, "ru": 0.4}))
    assert [(one.language, one.questions, one.below) for one in held] == [
        ("en", 12, False), ("ru", 11, False),
    ]  # fmt: skip


@pytest.mark.parametrize("harm", [False, True])
def test_an_interrupted_step_chooses_the_same(base, tmp_path, harm):
    step, training = plan(base, steps=7, every=3)
    rows = harmful_rows() if harm else make_rows()
    whole = train(step, training, rows, tmp_path / "whole")
    with pytest.raises(Killed):
        train(step, training, rows, tmp_path / "cut", progress=KilledAt(5))
    resumed = train(step, training, rows, tmp_path / "cut")
    assert same(weights(whole), weights(resumed))
    assert resumed.looks.equals(whole.looks)
    assert resumed.curve["loss"].to_list() == whole.curve["loss"].to_list()


def test_training_ends_where_patience_does_also_when_resumed_there(base, tmp_path, monkeypatch):
    step, training = plan(base, steps=20, patience=2)
    made = train(step, training, harmful_rows(), tmp_path / "1")
    assert made.chosen.stopped
    assert made.steps == 4
    assert made.looks.filter(pl.col("scale") == 1, language="*")["step"].to_list() == [0, 2, 4]
    again = train(step, training, harmful_rows(), tmp_path / "1")  # its last checkpoint is there
    assert again.looks.equals(made.looks)
    assert again.steps == 4
    assert same(weights(again), weights(made))


def test_a_step_on_another_is_held_to_where_it_began_and_told_with_the_base(base, tmp_path):
    step, training = plan(base, steps=6)
    train(step, training, make_rows(), tmp_path / "1").write(tmp_path / "mono", base)
    then = step.model_copy(update={"adapter": "continue", "on": "mono"})
    stack = AdapterStack(initial=tmp_path / "mono")
    harmed = train(then, training, harmful_rows(), tmp_path / "2", stack=stack)
    kept = adapters.adapter_weights(harmed.encoder, harmed.adapter)
    scores = {
        (step, scale): ndcg
        for step, scale, ndcg in harmed.looks.filter(language="*")
        .select("step", "scale", "ndcg")
        .rows()
    }
    assert harmed.chosen.step == 0
    assert scores[0, 0.0] == harmed.chosen.base < scores[0, 1.0] == harmed.chosen.ndcg
    assert not any(scale == 0.5 for _, scale in scores)
    from safetensors.torch import load_file

    assert same(kept, load_file(str(tmp_path / "mono" / adapters.WEIGHTS)))


def test_only_directions_that_pass_through_an_adapter_count(base, tmp_path):
    step, training = plan(base, steps=4)
    french = step.model_copy(update={"languages": ("fr",)})
    rows = make_rows(document="fr", query="fr")
    assert train(french, training, rows, tmp_path / "1", questions("en")).chosen is None
    made = train(french, training, rows, tmp_path / "2", questions("fr"))
    assert made.chosen.questions == len(WORDS)


@given(st.integers(1, 10_000), st.integers(20, 2_300), st.integers(4, 2_000))
def test_looking_stays_cheap_and_happens(steps, texts, batch):
    every = looks_every(steps, texts, batch)
    looks = ceil(steps / every)
    assert 1 <= looks <= 10
    assert looks >= 2 or steps < 2
    assert texts <= 0.1 * 2 * batch * every or every == ceil(steps / 2)
