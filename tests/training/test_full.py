"""All weights of the base are trained: resumable, and stored as the whole model that they are."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from polymine.commands.merge import merge
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluationSettings,
    LossSettings,
    StepSettings,
    TrainingData,
)
from polymine.flows.training import run_steps
from polymine.models import load_encoder
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import open_measured
from polymine.tasks.training.checks import check_training
from polymine.training import adapters
from polymine.training.trainer import TrainedStep, train_step
from tests.tasks.evaluation.small_sets import run_in
from tests.training.test_trainer import WORDS, Killed, KilledAt, make_rows, make_step, make_training
from tests.training.test_watch import harmful_rows, plan, questions


def full(steps=6, **given) -> StepSettings:
    return make_step("whole", steps, adapter="full", **given)


def train(base, folder, step=None, progress=None, **changed) -> TrainedStep:
    return train_step(
        step or full(), make_rows(), make_training(base, **changed), checkpoints=folder,
        fingerprint="s", progress=progress,
    )  # fmt: skip


def states(trained) -> dict[str, torch.Tensor]:
    return dict(trained.encoder.state_dict())


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_every_weight_that_a_vector_depends_on_learns(base, tmp_path):
    before = dict(adapters.load_base(base, device="cpu").named_parameters())
    trained = train(base, tmp_path)
    after = dict(trained.encoder.named_parameters())
    assert before.keys() == after.keys()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if ".pooler." not in name] == []
    assert trained.curve["gradient_norm"].min() > 0
    learning = train(base, tmp_path / "long", full(steps=30)).curve["loss"]
    assert learning.tail(5).mean() < 0.8 * learning.head(5).mean()


def test_an_interrupted_step_ends_with_the_same_bytes(base, tmp_path):
    step = full(steps=7)
    whole = train(base, tmp_path / "whole", step)
    with pytest.raises(Killed):
        train(base, tmp_path / "cut", step, KilledAt(5))
    assert same(states(whole), states(train(base, tmp_path / "cut", step)))


def test_what_is_stored_is_what_was_trained_and_reads_as_long_texts_as_the_base(base, tmp_path):
    trained = train(base, tmp_path / "1", max_length=8)
    assert trained.encoder.max_seq_length == 8
    trained.write(tmp_path / "model", base)
    read = load_encoder(str(tmp_path / "model"), device="cpu", dtype="float32")
    assert read.max_seq_length == load_encoder(base, device="cpu", dtype="float32").max_seq_length
    # On a CPU training computes attention step by step, which rounds otherwise.
    np.testing.assert_allclose(read.encode(WORDS), trained.encoder.encode(WORDS), atol=1e-6)
    assert same(dict(read.state_dict()), states(trained))


def test_a_development_part_puts_it_back_where_it_harmed(base, tmp_path):
    step, training = plan(base)
    step = step.model_copy(update={"adapter": "full"})
    made = train_step(
        step, harmful_rows(), training, checkpoints=tmp_path, fingerprint="s",
        development=questions(),
    )  # fmt: skip
    assert (made.chosen.step, made.chosen.ndcg) == (0, made.chosen.base)
    assert same(states(made), dict(adapters.load_base(base, device="cpu").state_dict()))
    assert set(made.looks["scale"]) == {0.0, 1.0}  # half of its weights is no model


def rows_file(folder) -> str:
    make_rows().select("anchor", "positive").write_parquet(folder / "triplets.parquet")
    return str(folder / "triplets.parquet")


def test_the_models_folder_is_measured_and_merged_as_any_other(base, tmp_path):
    run: Context = run_in(tmp_path)
    data = (TrainingData(triplets=rows_file(tmp_path)),)
    step = full(data=data, loss=LossSettings(negatives=0))
    trained = run_steps(run, make_training(base, steps=(step,)), EvaluationSettings())
    folder = trained.assembled.path
    assert trained.model.routes == {"*": "whole"}
    measured = open_measured("trained", EncoderSettings(model=folder))
    assert measured.trained.adapters == ("whole",)
    alone = load_encoder(f"{folder}/adapters/whole", device="cpu", dtype="float32").encode(WORDS)
    untouched = load_encoder(base, device="cpu", dtype="float32").encode(WORDS)
    assert not np.allclose(alone, untouched, atol=1e-2)
    assert "whole merged into" in merge(Path(folder), None, tmp_path / "merged")
    merged = load_encoder(str(tmp_path / "merged"), device="cpu", dtype="float32")
    np.testing.assert_array_equal(merged.encode(WORDS), alone)


def test_what_has_no_untouched_base_is_refused(base, tmp_path, caplog):
    with pytest.raises(ValidationError, match="no untouched base is left"):
        full(languages=("ru",))
    with pytest.raises(ValidationError, match="no untouched base is left"):
        full(loss=LossSettings(negatives=2, base_anchor=1.0))
    with pytest.raises(ValidationError, match="what is `full` stands on the base"):
        full(on="mono")
    data = (TrainingData(triplets=rows_file(tmp_path)),)
    two = make_training(base, steps=(full(data=data), make_step("after", data=data)))
    with pytest.raises(SettingsError, match="`full` makes a whole model, so it is the only step"):
        check_training(two)
    routed = make_training(base, steps=(full(data=data),), routes={"ru": "whole", "*": "base"})
    with pytest.raises(SettingsError, match="its model is for all languages"):
        check_training(routed)
    with caplog.at_level(logging.WARNING, "polymine.training"):
        check_training(make_training(base, steps=(full(data=data),)))
    assert "a learning rate of 0.005, which is one of adapters" in caplog.text
