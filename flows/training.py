"""The training flow: from data that is there to adapters, a step of the recipe at a time."""

from typing import Any

from prefect import flow

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EngineSettings,
    EvaluationSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.evaluation.sets import read_set
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.learning import Trained, report_training
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.output import TRAINING, check_output, resolve_path
from polymine.tasks.store.usage import recorded_use
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.model import assemble, describe_model
from polymine.tasks.training.rows import gather_rows, guard_rows, resolve_mined
from polymine.tasks.training.steps import parents_of
from polymine.tasks.training.steps import train as train_adapter


@flow(name="train", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
def train(
    training: TrainingSettings,
    output: OutputSettings,
    evaluation: EvaluationSettings = EvaluationSettings(),
    engine: EngineSettings = EngineSettings(),
) -> dict[str, Any]:
    """Train adapters.

    Follows the recipe step by step and writes the adapters with a model card. Texts of
    `evaluation.sets` are kept out of training. A killed run goes on from its last checkpoint.
    """
    output = resolve_path(output)
    check_roots(training=training, output=output, evaluation=evaluation, engine=engine)
    check_output(output, settings={"training": training}, kind=TRAINING)
    training = resolve_mined(training, None)
    with limited_threads(engine), recorded_use():
        trained = run_steps(training, evaluation, engine)
        return dict(report_training(trained, training, evaluation, output, engine))


def run_steps(
    training: TrainingSettings, evaluation: EvaluationSettings, engine: EngineSettings
) -> Trained:
    """Check everything, read all data, then train one step after the other."""
    root = str(Store(engine.store).root)
    steps = check_training(training)
    sets = {chosen.name: read_set(chosen, evaluation.seed, root) for chosen in evaluation.sets}
    gathered = {step.name: gather_rows(step, root) for step in steps}
    rows = {
        step.name: guard_rows(step, gathered[step.name], sets, training, root) for step in steps
    }
    made: dict[str, DatasetRef] = {}
    for step in steps:
        stack = parents_of(step, steps, made)
        made[step.name] = train_adapter(step, rows[step.name], stack, training, engine, root)
    model = describe_model(training, steps, made, rows)
    return Trained(steps, rows, made, model, assemble(model, made, root))
