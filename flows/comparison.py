"""What trains best: several ways to mine or to train, the same evaluation."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from prefect import flow

from polymine import models
from polymine.data_contracts.notes import CollectionNote, RowsNote, SetNote, Understood
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    ArmSettings,
    ComparisonSettings,
    DatasetSettings,
    EngineSettings,
    EvaluationSettings,
    MiningSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.flows.evaluation import measure_all, read_sets
from polymine.flows.mining import Mined, as_folder, mine_collection
from polymine.flows.pipeline import check_learning, cut_parts
from polymine.flows.training import run_steps
from polymine.reporting.report import Note
from polymine.tasks.engine.cluster import working
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import named_work
from polymine.tasks.evaluation.comparison import (
    arm_mining,
    arm_training,
    check_arms,
    compare_arms,
    mine_otherwise,
    minings_of,
    trained_by,
)
from polymine.tasks.evaluation.encoding import Measured, as_measured, open_measured
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.comparison import report_comparison
from polymine.tasks.reporting.evaluation import remark_on_few
from polymine.tasks.reporting.outcome import merged, sources_of
from polymine.tasks.reporting.training import Trained
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import open_folder
from polymine.tasks.store.output import COMPARISON, check_output, resolve_path
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.contamination import check_contaminated, look_for_seen
from polymine.tasks.training.data import resolve_training
from polymine.tasks.training.development import read_development
from polymine.tasks.training.processes import check_processes
from polymine.tasks.training.trials import check_trials
from polymine.training.recipes import expand


@flow(name="compare", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
def compare(
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings = MiningSettings(),
    training: TrainingSettings = TrainingSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    comparison: ComparisonSettings = ComparisonSettings(),
    engine: EngineSettings = EngineSettings(),
) -> dict[str, Any]:
    """Compare ways to mine and to train.

    Each arm finds its negatives, trains the recipe once per seed and is measured on the same
    queries. One table says what each gains over the untouched base, with intervals.
    """
    parts = {
        "dataset": dataset, "mining": mining, "training": training, "evaluation": evaluation,
        "comparison": comparison,
    }  # fmt: skip
    output = resolve_path(output)
    arms_mining = minings_of(comparison.arms, mining)
    arms_training = {
        f"comparison.arms.{arm.name}.training": trained_by(arm, training) for arm in comparison.arms
    }
    check_roots(**parts, **arms_mining, **arms_training, output=output, engine=engine)
    check_output(output, settings=parts, kind=COMPARISON)
    check_arms(comparison.arms, mining, training)
    for each in (training, *arms_training.values()):
        check_contaminated(each, evaluation)
    with working(engine) as run:
        check_learning(run, mining, training, evaluation)
        for arm in comparison.arms:
            if arm.training:
                own = arms_mining.get(f"comparison.arms.{arm.name}", mining)
                trained = trained_by(arm, training)
                check_processes(engine, trained, check_training(trained, own))
        sets, compared, notes, sources = run_arms(
            run, dataset, output, mining, training, evaluation, comparison
        )
        return report_comparison(
            run, compared, sets, training, evaluation, output, parts, notes, sources
        )


def run_arms(
    run: Context,
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    comparison: ComparisonSettings,
) -> tuple[dict[str, DatasetRef], DatasetRef, tuple[Note, ...], tuple[Understood, ...]]:
    """Mine, train and measure each arm and seed.

    Returns the sets, all arms compared, what the report should say, and what files were taken for.
    """
    collection = ingest(run, dataset)
    evaluation, training, collection, notes = cut_parts(
        run, collection, dataset, training, evaluation
    )
    sets = read_sets(run, evaluation)
    check_choices(run, comparison.arms, training, evaluation, sets)
    sources = [sources_of({"dataset": collection.documents}, CollectionNote)]
    models: dict[str, dict[int, Measured]] = {arm.name: {} for arm in comparison.arms}
    for arm in comparison.arms:
        for seed in comparison.seeds:
            found = mine_arm(run, arm, seed, collection, output, mining)
            trained = train_arm(run, arm, seed, found, dataset, mining, training, evaluation)
            sources += [sources_of(trained.rows, RowsNote), sources_of(trained.apart, SetNote)]
            models[arm.name][seed] = open_arm(arm, seed, trained, training, evaluation)
    base = open_measured("base", as_measured(training.base, evaluation))
    sets, compared, seen = measure_arms(run, base, models, sets, evaluation)
    return sets, compared, (*notes, *seen), merged(*sources)


def check_choices(
    run: Context,
    arms: Sequence[ArmSettings],
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    sets: Mapping[str, DatasetRef],
) -> None:
    """Refuse, before anything is mined, an arm's own choice that no development part can make."""
    for arm in arms:
        own = trained_by(arm, training)
        if any(step.is_tried for step in expand(own)):
            check_trials(own, read_development(run, own, evaluation, sets))


@dataclass(frozen=True)
class Found:
    """What an arm found: its triplets, and what made them where Polymine did."""

    triplets: DatasetRef
    mined: Mined | None = None


def mine_arm(
    run: Context,
    arm: ArmSettings,
    seed: int,
    collection: CollectionRef,
    output: OutputSettings,
    mining: MiningSettings,
) -> Found:
    """Find an arm's negatives."""
    if arm.miner != "polymine":
        return Found(mine_otherwise(run, arm, collection, mining, seed))
    with named_work(f"{arm.name}-{seed}"):
        mined = mine_collection(run, collection, output, arm_mining(arm, mining, seed))
    return Found(mined.exported, mined)


def train_arm(
    run: Context,
    arm: ArmSettings,
    seed: int,
    found: Found,
    dataset: DatasetSettings,
    mining: MiningSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> Trained:
    """Train an arm's recipe on what it found."""
    training = trained_by(arm, training)
    there: AbstractContextManager[str] = nullcontext(found.triplets.path)
    if found.mined is not None:
        there = as_folder(run, found.mined, dataset, arm_mining(arm, mining, seed), training)
    with there as folder, named_work(f"{arm.name}-{seed}"):
        own = arm_training(arm.name, seed, resolve_training(training, folder))
        return run_steps(run, own, evaluation)


def open_arm(
    arm: ArmSettings,
    seed: int,
    trained: Trained,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> Measured:
    """Open what an arm has trained, to measure it."""
    call = as_measured(models.settled(trained_by(arm, training).base), evaluation)
    folder = str(open_folder(trained.assembled.path))
    return open_measured(f"{arm.name}-{seed}", call.model_copy(update={"model": folder}))


def measure_arms(
    run: Context,
    base: Measured,
    models: Mapping[str, Mapping[int, Measured]],
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> tuple[dict[str, DatasetRef], DatasetRef, tuple[Note, ...]]:
    """Measure the base and the models of each arm and seed, all on what none has learned from.

    Returns the sets without what is left out, all arms compared, and what was found in the sets.
    """
    trained = [model for of in models.values() for model in of.values()]
    left, notes = look_for_seen(run, trained, sets, evaluation)
    arms = {
        arm: {seed: measure_all(run, model, left, evaluation) for seed, model in of.items()}
        for arm, of in models.items()
    }
    before = measure_all(run, base, left, evaluation)
    compared = compare_arms(run, left, before, arms, evaluation)
    return left, compared, (*notes, *remark_on_few(before))
