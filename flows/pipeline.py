"""The whole of it: mine, train, evaluate, report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from polymine.data_contracts.references import CollectionRef
from polymine.data_contracts.settings import (
    TRAINED,
    DatasetSettings,
    EngineSettings,
    EvaluationSettings,
    MiningSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.data_contracts.settings.training import name_round
from polymine.flows.evaluation import evaluate, read_sets
from polymine.flows.mining import mine_collection
from polymine.flows.training import train
from polymine.reporting.report import Note
from polymine.tasks.engine.cluster import working
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.graph import Node
from polymine.tasks.engine.stage import in_flow
from polymine.tasks.engine.work_pool import check_deployments, for_elsewhere
from polymine.tasks.mining.ingestion import find_tables, ingest
from polymine.tasks.mining.teachers import check_models
from polymine.tasks.monitoring.failures import SHOWN, explains_failures, part_failed
from polymine.tasks.reporting.mining import report
from polymine.tasks.reporting.parts import (
    check_evaluation,
    check_parts,
    part_of,
    with_held_out,
    with_trained,
)
from polymine.tasks.reporting.pipeline import PARTS, report_pipeline
from polymine.tasks.reporting.rounds import (
    ROUNDS,
    compare_rounds,
    folder_of_round,
    with_teachers,
)
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.output import PIPELINE, check_output, resolve_path
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.contamination import check_contaminated
from polymine.tasks.training.data import resolve_training
from polymine.tasks.training.development import cut_development, read_development
from polymine.tasks.training.processes import check_processes
from polymine.tasks.training.rows import gather_rows
from polymine.tasks.training.split import hold_out_set, training_side
from polymine.tasks.training.trials import check_trials, trials


@flow(name="pipeline", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
def pipeline(
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings = MiningSettings(),
    training: TrainingSettings = TrainingSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    engine: EngineSettings = EngineSettings(),
) -> dict[str, Any]:
    """Mine, train, evaluate.

    Keeps some documents and their queries apart, mines the others, trains adapters on the triplets
    and says what that did to the search, on what was kept apart and on any other set. Of what is
    left, a further part chooses the step and the scale of each adapter. Each further round of
    `training.rounds` mines again, with what was trained among the teachers, and trains anew.
    """
    parts = {"dataset": dataset, "mining": mining, "training": training, "evaluation": evaluation}
    output = resolve_path(output)
    check_roots(**parts, output=output, engine=engine)
    check_contaminated(training, evaluation)
    check_parts(output, PIPELINE, (*PARTS, *ROUNDS), parts)
    first = part_of(folder_of_round(output, training, 1), "mining")
    check_output(first, settings={"dataset": dataset, "mining": mining})
    with working(engine) as run:
        check_learning(run, mining, training, evaluation)
        whole = ingest(run, dataset)
        evaluation, training, left, notes = cut_parts(run, whole, dataset, training, evaluation)
        mine_round(run, left, dataset, folder_of_round(output, training, 1), mining)
    rounds = train_round(run, 1, output, training, evaluation, {})
    for number in range(2, training.rounds + 1):
        with working(engine) as again:
            again.graph = run.graph
            further = with_teachers(mining, training.base, rounds, Path(first.path))
            left = find_tables(again, left.fingerprint) or left  # which this run uses as well
            mine_round(again, left, dataset, folder_of_round(output, training, number), further)
        rounds = train_round(run, number, output, training, evaluation, rounds)
    measured = with_trained(evaluation, rounds, training.base)
    start(run, "evaluate", evaluation=measured, output=part_of(output, "evaluation"))
    folders = {name: part_of(output, name).path for name in PARTS}
    notes = (*notes, *compare_rounds(output, training))
    return report_pipeline(run, folders, output, training, measured, parts, notes)


def check_learning(
    run: Context,
    mining: MiningSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> tuple[StepSettings, ...]:
    """Refuse what would fail only after hours of work, and read all data that is there.

    Returns the steps of the training.
    """
    check_models(mining)
    steps = check_training(training, mining)
    check_processes(run.engine, training, steps)
    check_evaluation(evaluation, training.base)
    if run.engine.gpu_pool is not None:
        check_deployments(run.engine.gpu_pool)
    read_sets(run, evaluation)
    for step in steps:
        if not any(part.is_mined for part in step.data):
            for one in trials(step):
                gather_rows(run, one)
    return steps


def mine_round(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings,
) -> None:
    """Mine what was not held out into the folder of a round."""
    part = part_of(output, "mining")
    mined = mine_collection(run, collection, part, mining)
    report(run, mined.sources, mined.exported, mined.stages, dataset, mining, part)


def train_round(
    run: Context,
    number: int,
    output: OutputSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    rounds: Mapping[str, Path],
) -> dict[str, Path]:
    """Train on what a round has mined; returns the folders of all models so far, by name."""
    of = folder_of_round(output, training, number)
    triplets, part = part_of(of, "mining").path, part_of(of, "training")
    if run.engine.gpu_pool is not None:  # a worker elsewhere has another current folder
        triplets = str(Path(triplets).absolute())
    resolved = resolve_training(training, triplets)
    start(run, "train", training=resolved, evaluation=evaluation, output=part)
    name = TRAINED if number == training.rounds else name_round(number)
    return {name: Path(part.path).absolute(), **rounds}


def cut_parts(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> tuple[EvaluationSettings, TrainingSettings, CollectionRef, tuple[Note, ...]]:
    """Cut the test part and then, of what is left, the development part; return what is left.

    A development part that cannot choose, that is not there and `strict` needs, or that the test
    part asks as well, is refused here, before anything is mined.
    """
    whole = evaluation
    if whole.held_out:
        evaluation = with_held_out(whole, hold_out_set(run, collection, dataset, whole))
        collection = training_side(run, collection, dataset, whole)
    training, left, notes = cut_development(run, collection, dataset, training, whole)
    development = None
    if training.development.set is not None or training.development.strict:
        development = read_development(run, training, evaluation, read_sets(run, evaluation))
    check_trials(training, development)
    return evaluation, training, left, notes


def start(run: Context, name: str, **settings: Any) -> None:
    """Run `train` or `evaluate`: in this process, or on the work pool that is configured.

    Raises PolymineError when the run on the work pool did not finish well.
    """
    engine, needs = run.engine, run.graph.needs(settings)
    if engine.gpu_pool is None:
        flows: dict[str, Any] = {"train": train, "evaluate": evaluate}
        if not in_flow():
            flows[name].fn(**settings, engine=engine)
            return
        made = flows[name](**settings, engine=engine, wait_for=list(needs.values()))
        # Prefect knows a part by what it returned, not by its state.
        run.graph.add(Node(name, tuple(needs), reused=False), made, made)
        return
    part: Any = run_deployment(
        name=f"{name}/{engine.gpu_pool}", parameters=for_elsewhere(engine, settings)
    )
    if part.state is None or not part.state.is_completed():
        raise part_failed(name, engine.gpu_pool, part)
