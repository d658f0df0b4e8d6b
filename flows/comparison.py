"""Which negatives train best: several ways to mine, the same training, the same evaluation."""

from typing import Any

from prefect import flow

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
from polymine.flows.mining import mine_collection
from polymine.flows.pipeline import check_learning
from polymine.flows.training import run_steps
from polymine.tasks.engine.cluster import cluster
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import named_work
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.evaluation.comparison import (
    arm_mining,
    arm_training,
    check_arms,
    compare_arms,
    mine_otherwise,
    minings_of,
)
from polymine.tasks.evaluation.encoding import Measured, as_measured, open_measured
from polymine.tasks.evaluation.measuring import measure
from polymine.tasks.evaluation.sets import read_set
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.comparison import report_comparison
from polymine.tasks.reporting.parts import with_held_out
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import Store, open_folder
from polymine.tasks.store.output import COMPARISON, check_output, resolve_path
from polymine.tasks.store.usage import recorded_use
from polymine.tasks.training.rows import resolve_mined
from polymine.tasks.training.split import hold_out_set, training_side


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
    """Compare ways to mine.

    Each arm finds its negatives, trains the same recipe once per seed and is measured on the same
    queries. One table says what each gains over the untouched base, with intervals.
    """
    parts = {
        "dataset": dataset, "mining": mining, "training": training, "evaluation": evaluation,
        "comparison": comparison,
    }  # fmt: skip
    output = resolve_path(output)
    arms_mining = minings_of(comparison.arms, mining)
    check_roots(**parts, **arms_mining, output=output, engine=engine)
    check_output(output, settings=parts, kind=COMPARISON)
    check_arms(comparison.arms, mining, training)
    check_learning(mining, training, evaluation, engine)
    with limited_threads(engine), cluster(engine), recorded_use():
        root = str(Store(engine.store).root)
        collection = ingest(Context.of(engine), dataset)
        if evaluation.held_out:
            held = hold_out_set(collection, dataset, evaluation, root)
            collection = training_side(collection, dataset, evaluation, root)
            evaluation = with_held_out(evaluation, held.path)
        arms: dict[str, dict[int, dict[str, DatasetRef]]] = {}
        for arm in comparison.arms:
            for seed in comparison.seeds:
                triplets = mine_arm(arm, seed, collection, output, mining, engine)
                model = train_arm(arm.name, seed, triplets, training, evaluation, engine)
                arms.setdefault(arm.name, {})[seed] = measure_all(model, evaluation, engine)
        base = open_measured("base", as_measured(training.base, evaluation))
        measured = measure_all(base, evaluation, engine)
        sets = read_sets(evaluation, root)
        compared = compare_arms(sets, measured, arms, evaluation, root)
        return dict(report_comparison(compared, training, evaluation, output, parts))


def mine_arm(
    arm: ArmSettings,
    seed: int,
    collection: CollectionRef,
    output: OutputSettings,
    mining: MiningSettings,
    engine: EngineSettings,
) -> str:
    """Find an arm's negatives; return the folder that holds its `triplets/`."""
    root = str(Store(engine.store).root)
    if arm.miner == "polymine":
        own = arm_mining(arm, mining, seed)
        with named_work(f"{arm.name}-{seed}"):
            return mine_collection(Context.of(engine), collection, output, own).exported.path
    return mine_otherwise(arm, collection, mining, seed, root).path


def train_arm(
    name: str,
    seed: int,
    triplets: str,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    engine: EngineSettings,
) -> Measured:
    """Train the recipe on an arm's negatives."""
    own = arm_training(name, seed, resolve_mined(training, triplets))
    with named_work(f"{name}-{seed}"):
        trained = run_steps(own, evaluation, engine)
    place = str(open_folder(trained.assembled.path))
    call = as_measured(training.base, evaluation)
    return open_measured(f"{name}-{seed}", call.model_copy(update={"model": place}))


def measure_all(
    measured: Measured, evaluation: EvaluationSettings, engine: EngineSettings
) -> dict[str, DatasetRef]:
    """Measure one model on every set."""
    root = str(Store(engine.store).root)
    sets = read_sets(evaluation, root)
    return {
        chosen.name: measure(measured, chosen, sets[chosen.name], evaluation, engine, root)
        for chosen in evaluation.sets
    }


def read_sets(evaluation: EvaluationSettings, root: str) -> dict[str, DatasetRef]:
    """Read every set; all but the first time they are there already."""
    return {chosen.name: read_set(chosen, evaluation.seed, root) for chosen in evaluation.sets}
