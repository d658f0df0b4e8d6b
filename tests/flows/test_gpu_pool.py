"""The pipeline hands training and evaluation to a work pool, where a worker runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import get_current_settings

from polymine.data_contracts.errors import PolymineError, SettingsError
from polymine.data_contracts.settings import (
    AdaptedModel,
    DatasetSettings,
    DevelopmentSettings,
    EngineSettings,
    EvaluationSettings,
    LoraSettings,
    LossSettings,
    MiningSettings,
    OutputSettings,
    ScheduleSettings,
    TrainingSettings,
)
from polymine.flows.pipeline import pipeline
from tests.small import BM25, MINILM, save_small_encoder

pytestmark = pytest.mark.flow
ROOT = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


def settings(base: str, animals: dict[str, str]) -> dict:
    training = TrainingSettings(
        base=AdaptedModel(model=base, dtype="float32"),
        schedule=ScheduleSettings(steps=2, batch=8, mini_batch=8),
        loss=LossSettings(negatives=2), lora=LoraSettings(rank=4),
        development=DevelopmentSettings(fewest=2),
    )  # fmt: skip
    return {
        "dataset": DatasetSettings(**animals),
        "mining": MiningSettings(teachers=(MINILM, BM25), negatives=2, depth=10),
        "training": training,
        "evaluation": EvaluationSettings(held_out=0.25, development=0.25, resamples=200),
    }


def test_a_work_pool_without_deployments_is_refused_at_once(prefect_server, animals, tmp_path):
    base = save_small_encoder(tmp_path / "base")
    engine = EngineSettings(store=str(tmp_path / "store"), gpu_pool="nowhere")
    with pytest.raises(SettingsError, match=r"no deployment `train/nowhere`.*polymine deploy"):
        pipeline(**settings(base, animals), output=OutputSettings(path="out"), engine=engine)


@pytest.mark.proof
def test_training_and_evaluation_run_on_the_work_pool(
    prefect_server, animals, tmp_path, monkeypatch
):
    base = save_small_encoder(tmp_path / "base")
    env = {**os.environ, "PREFECT_API_URL": str(get_current_settings().api.url)}
    subprocess.run(
        [*PREFECT, "work-pool", "create", "accelerated", "--type", "process"],
        check=True, env=env, capture_output=True,
    )  # fmt: skip
    for module, name in (("training", "train"), ("evaluation", "evaluate")):
        source = flow.from_source(str(ROOT), f"flows/{module}.py:{name}")
        source.deploy("accelerated", work_pool_name="accelerated", print_next_steps=False)
    worker = subprocess.Popen(
        [*PREFECT, "worker", "start", "--pool", "accelerated"],
        env={**env, "PREFECT_WORKER_QUERY_SECONDS": "1"}, cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        engine = EngineSettings(store=str(tmp_path / "store"), gpu_pool="accelerated")
        monkeypatch.chdir(tmp_path)
        summary = pipeline(
            **settings(base, animals), output=OutputSettings(path="out"), engine=engine
        )
        assert summary["headline"].startswith("nDCG@10 on held-out")
        assert (tmp_path / "out/training/model/polymine.json").is_file()
        assert (tmp_path / "out/training/development.parquet").is_file()
        (tmp_path / "other" / "training").mkdir(parents=True)
        (tmp_path / "other" / "training" / "mine.txt").write_text("not a training run")
        with pytest.raises(PolymineError, match=r"train on work pool accelerated ended as"):
            pipeline(**settings(base, animals), output=OutputSettings(path="other"), engine=engine)
    finally:
        worker.terminate()
        worker.wait(20)
