"""What cannot be trained is refused before anything is read."""

import logging

import polars as pl
import pytest

from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.settings import (
    EngineSettings,
    LossSettings,
    MiningSettings,
    StepSettings,
    TeacherSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.data_contracts.settings.steps import GuideModel
from polymine.tasks.engine.context import Context
from polymine.tasks.store.manifests import RUN
from polymine.tasks.store.output import write_folder_manifest
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.rows import check_rows, gather_rows
from tests.small import save_small_encoder


def mined_by(*teachers: TeacherSettings, decides: str) -> MiningSettings:
    return MiningSettings.model_validate({"teachers": teachers, "selection": {"teacher": decides}})


def distilled(base: str, triplets: str) -> TrainingSettings:
    loss = LossSettings(kind="distill", negatives=2)
    step = StepSettings(name="a", data=(TrainingData(triplets=triplets),), loss=loss)
    return TrainingSettings.model_validate({"base": {"model": base}, "steps": (step,)})


def test_no_model_is_distilled_from_itself(base, tmp_path):
    own, words = TeacherSettings(name="own", model=base), TeacherSettings(name="w", kind="lexical")
    training = distilled(base, "mined")
    with pytest.raises(SettingsError, match="teacher `own`, which is the base itself"):
        check_training(training, mined_by(own, words, decides="own"))
    check_training(training, mined_by(own, words, decides="w"))
    settings = mined_by(own, words, decides="own").model_dump(mode="json")
    info = {"settings": {"mining": settings}}
    write_folder_manifest(tmp_path, RUN, "f" * 32, 0, info)
    with pytest.raises(SettingsError, match="step `a`: loss `distill` learns the scores"):
        check_training(distilled(base, str(tmp_path)))


def test_losses_that_know_no_weights_say_so(tmp_path, caplog):
    pairs = pl.DataFrame(
        {"anchor": ["a?", "b?"], "positive": ["A", "B"], "positive_weight": [1.0, 0.3]}
    )
    pairs.write_parquet(tmp_path / "pairs.parquet")
    data = TrainingData(triplets=str(tmp_path / "pairs.parquet"))
    loss = LossSettings(kind="mse", guide=GuideModel(model="org/guide"), negatives=0)
    step = StepSettings(name="imitate", data=(data,), loss=loss)
    rows = gather_rows(Context.of(EngineSettings(store=str(tmp_path / "store"))), step)
    with caplog.at_level(logging.WARNING, logger="polymine"):
        check_rows(step, rows)
    assert "loss `mse` knows no weights: 1 rows whose positive may be wrong" in caplog.text


def test_a_guide_of_another_width_is_refused_before_anything_is_read(base, tmp_path):
    guide = save_small_encoder(tmp_path / "guide", width=48)
    loss = LossSettings(kind="mse", negatives=0, guide=guide)
    step = StepSettings(name="a", data=(TrainingData(parallel="absent.parquet"),), loss=loss)
    training = TrainingSettings.model_validate({"base": {"model": base}, "steps": (step,)})
    with pytest.raises(ModelError, match=r"gives vectors of 48 components, and .* learns ones of"):
        check_training(training)
