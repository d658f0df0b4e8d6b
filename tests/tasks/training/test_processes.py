"""As many processes as there are GPUs, or as settings say; what cannot be is refused beforehand."""

import logging

import pytest

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.notes import AdapterNote
from polymine.data_contracts.settings import (
    EngineSettings,
    EvaluationSettings,
    OutputSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.data_contracts.settings.run import TrainingRunSettings
from polymine.flows.planning import plan_flow
from polymine.flows.training import run_steps
from polymine.tasks.engine.context import Context
from polymine.tasks.store.datasets import note_of
from polymine.tasks.training.processes import check_processes, count_processes, tell_processes
from tests.small import save_small_encoder
from tests.training.test_trainer import WORDS, make_step, make_training


def see(monkeypatch, gpus: int) -> None:
    found = [f"cuda:{number}" for number in range(gpus)] or ["cpu"]
    monkeypatch.setattr(models, "visible_devices", lambda: found)


def engine(processes="auto", **others) -> EngineSettings:
    return EngineSettings(training_processes=processes, **others)


PLAIN, CHAIN = TrainingSettings(), TrainingSettings.model_validate({"target": "org/english"})
STEP = StepSettings(name="mono", schedule=ScheduleSettings(batch=4))


@pytest.mark.parametrize(
    ("gpus", "asked", "training", "expected", "says"),
    [
        (0, "auto", PLAIN, 1, []),
        (0, 3, PLAIN, 3, ["3 processes train it"]),
        (1, "auto", PLAIN, 1, []),
        (4, "auto", PLAIN, 4, ["4 processes train it"]),
        (8, "auto", PLAIN, 4, ["4 processes train it", "4 of 8 GPUs train it: a batch has 4 rows"]),
        (4, 2, PLAIN, 2, ["2 processes train it", "2 of 4 GPUs train it: `engine.training_proc"]),
        (4, "auto", CHAIN, 1, ["1 of 4 GPUs train it: a chain is trained by one process"]),
    ],
)
def test_each_gpu_has_a_process_and_whoever_has_none_is_named(
    gpus, asked, training, expected, says, monkeypatch, caplog
):
    see(monkeypatch, gpus)
    check_processes(engine(asked), training, (STEP,))
    assert count_processes(engine(asked), training, STEP) == expected
    with caplog.at_level(logging.INFO, "polymine.training"):
        tell_processes(expected, training, STEP)
    assert len(caplog.messages) == len(says)
    assert all(said in found for said, found in zip(says, caplog.messages, strict=True))


@pytest.mark.parametrize(
    ("gpus", "asked", "training", "says"),
    [
        (2, 3, PLAIN, "training_processes = 3: each needs a GPU of its own, and 2 can be seen"),
        (0, 2, CHAIN, "training_processes = 2: a chain is trained by one process"),
        (0, 5, PLAIN, "step `mono` has batches of 4 rows, fewer than one for each process"),
    ],
)
def test_a_number_that_cannot_be_is_refused(gpus, asked, training, says, monkeypatch):
    see(monkeypatch, gpus)
    with pytest.raises(SettingsError, match=says):
        check_processes(engine(asked), training, (STEP,))
    check_processes(engine(asked, gpu_pool="gpu"), training, (STEP,))  # whose worker looks itself


def test_a_run_refuses_in_its_plan_and_notes_who_trained(tmp_path):
    """How many they are is no part of the fingerprint: nothing is trained twice."""
    base = save_small_encoder(tmp_path)
    table = tmp_path / "pairs.csv"
    lines = (f"what of the {word}?,it is {word} there" for word in WORDS)
    table.write_text("\n".join(["anchor,positive", *lines]), encoding="utf-8")
    step = make_step(steps=2, data=(TrainingData(triplets=str(table)),))
    training = make_training(base, steps=(step,), development={"every": None})

    def train(processes):
        run = Context.of(engine(processes, store=str(tmp_path / "store")))
        return run_steps(run, training, EvaluationSettings())

    output, many = OutputSettings(path=str(tmp_path / "out")), engine(5)
    settings = TrainingRunSettings(training=training, output=output, engine=many)
    with pytest.raises(SettingsError, match="fewer than one for each process"):
        plan_flow("train", settings)
    made = train(2).made["mono"]
    assert note_of(made, AdapterNote).processes == 2
    again = train(1).made["mono"]
    assert (again.fingerprint, again.reused) == (made.fingerprint, True)
    assert [path.name for path in (tmp_path / "store" / "checkpoints").iterdir()] == [
        f"{made.fingerprint}.lock"
    ]
