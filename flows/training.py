"""The training flow: from data that is there to adapters, a step of the recipe at a time."""

from typing import Any

from prefect import flow

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EngineSettings,
    EvaluationSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.training import Trained, report_training
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.output import TRAINING, check_output, resolve_path
from polymine.tasks.store.usage import recorded_use
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.data import resolve_training
from polymine.tasks.training.development import read_development, remark_on_shared
from polymine.tasks.training.model import assemble, check_strict, describe_model
from polymine.tasks.training.processes import check_processes
from polymine.tasks.training.rows import gather_rows, guard_rows
from polymine.tasks.training.steps import find_parent
from polymine.tasks.training.steps import train as train_adapter
from polymine.tasks.training.trials import (
    check_rows_of,
    check_trials,
    describe_trials,
    pick,
    trials,
)


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
    `evaluation.sets` are kept out of training; `training.development` chooses what is kept of a
    step. A killed run resumes from its last checkpoint.
    """
    output = resolve_path(output)
    check_roots(training=training, output=output, evaluation=evaluation, engine=engine)
    check_output(output, settings={"training": training}, kind=TRAINING)
    training = resolve_training(training, None)
    with limited_threads(engine), recorded_use():
        run = Context.of(engine)
        trained = run_steps(run, training, evaluation)
        return report_training(run, trained, training, evaluation, output)


def run_steps(run: Context, training: TrainingSettings, evaluation: EvaluationSettings) -> Trained:
    """Check everything, read all data, then train one step after the other."""
    steps = check_training(training)
    check_processes(run.engine, training, steps)
    sets = {chosen.name: read_set(run, chosen, evaluation.seed) for chosen in evaluation.sets}
    development = read_development(run, training, evaluation, sets)
    apart = {**sets, **({development.name: development.whole} if development else {})}
    check_trials(training, development)
    tried = [one for step in steps for one in trials(step)]
    gathered = {one.name: gather_rows(run, one) for one in tried}
    rows = {one.name: guard_rows(run, one, gathered[one.name], apart, training) for one in tried}
    differing = {step.name: check_rows_of(step, rows) for step in steps}
    made: dict[str, DatasetRef] = {}
    kept: list[StepSettings] = []
    notes = [*remark_on_shared(development)]
    for step in steps:
        parent = find_parent(step, steps, made)
        found = {
            one.name: train_adapter(run, one, rows[one.name], parent, training, development)
            for one in differing[step.name]
        }
        best = pick(run, differing[step.name], found, training)
        if not run.dry:
            notes += describe_trials(step, differing[step.name], best, found)
        made[step.name], rows[step.name] = found[best.name], rows[best.name]
        kept.append(best.model_copy(update={"name": step.name}))
    steps, rows = tuple(kept), {step.name: rows[step.name] for step in kept}
    model = describe_model(training, steps, made, rows)
    if not run.dry:
        check_strict(training, model, made)
    assembled = assemble(run, model, made)
    return Trained(steps, rows, apart, made, model, assembled, tuple(notes))
