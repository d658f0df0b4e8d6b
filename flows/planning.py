"""What a command would do: its input is read and checked, its stages are planned, none made.

The same functions say the order as in the flows themselves. Where a stage needs what is still to
be mined or trained, it is listed by its name, with as much of its work as can be told before.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polymine.data_contracts.notes import CollectionNote, RowsNote, SetNote, Understood
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    TRAINED,
    ComparisonRunSettings,
    EvaluationRunSettings,
    EvaluationSettings,
    GapRunSettings,
    PipelineSettings,
    RunSettings,
    StepSettings,
    TrainingRunSettings,
    TrainingSettings,
)
from polymine.flows.comparison import check_choices, measure_arms, mine_arm, open_arm, train_arm
from polymine.flows.evaluation import measure_all, measure_systems, read_sets, run_measures
from polymine.flows.gap import run_gap
from polymine.flows.mining import as_folder, mine_collection
from polymine.flows.pipeline import check_learning, cut_parts
from polymine.flows.training import run_steps
from polymine.models import unmeasured
from polymine.reading.understood import describe
from polymine.tasks.engine.context import Context, planning
from polymine.tasks.engine.graph import Graph, Node
from polymine.tasks.engine.load import Load
from polymine.tasks.evaluation.comparison import check_arms, minings_of, trained_by
from polymine.tasks.evaluation.encoding import (
    Measured,
    as_measured,
    open_candidates,
    open_measured,
)
from polymine.tasks.evaluation.sets import sides_of_set
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.mining.teachers import check_models
from polymine.tasks.reporting.outcome import sources_of
from polymine.tasks.reporting.parts import part_of, with_trained
from polymine.tasks.reporting.training import Trained
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import open_folder
from polymine.tasks.store.output import resolve_path
from polymine.tasks.store.rates import read_rates
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.data import resolve_training
from polymine.tasks.training.development import read_named
from polymine.tasks.training.processes import check_processes

ROUNDS = (
    "rounds 2 to {}: each mines, trains and is measured once more, with one teacher more; how long "
    "its vectors take is not known before"
)
PRECISION = (
    "{}: whether float32 or bfloat16 is faster here is measured when a run first loads it; this "
    "plan takes float32"
)


def plan_flow(name: str, settings: Any) -> Graph:
    """Say which stages a flow would have, what each is made from, and which are there already.

    Args:
        name: of the flow, as in `SETTINGS`.
        settings: of its kind.

    Nothing is written. Raises what the flow would raise before its first costly stage.
    """
    parts = {part: getattr(settings, part) for part in type(settings).model_fields}
    parts["output"] = resolve_path(settings.output)
    check_roots(**parts)
    with planning(settings.engine) as run, unmeasured() as open_:
        PLANS[name](run, settings)
        run.graph.rates = read_rates(run.store.root)
        run.graph.remarks += [PRECISION.format(model) for model in open_]
    return run.graph


def _mine(run: Context, settings: RunSettings) -> None:
    check_models(settings.mining)
    collection = ingest(run, settings.dataset)
    _say(run, sources_of({"dataset": collection.documents}, CollectionNote), {})
    mine_collection(run, collection, settings.output, settings.mining)


def _train(run: Context, settings: TrainingRunSettings) -> None:
    training = resolve_training(settings.training, None)
    trained = run_steps(run, training, settings.evaluation)
    _say(run, sources_of(trained.rows, RowsNote), trained.apart)


def _evaluate(run: Context, settings: EvaluationRunSettings) -> None:
    _say(run, (), run_measures(run, settings.evaluation).sets)


def _gap(run: Context, settings: GapRunSettings) -> None:
    _say(run, (), run_gap(run, settings.gap)[0])


def _pipeline(run: Context, settings: PipelineSettings) -> None:
    mining, training, evaluation = settings.mining, settings.training, settings.evaluation
    steps = check_learning(run, mining, training, evaluation)
    evaluation, training, collection = _cut(run, settings)
    mined = mine_collection(run, collection, part_of(settings.output, "mining"), mining)
    sets = read_sets(run, evaluation)
    _say(run, (), {**sets, **read_named(run, training, evaluation)})
    if training.rounds > 1:
        run.graph.remarks.append(ROUNDS.format(training.rounds))
    trained = None
    if mined.exported.reused:
        with as_folder(run, mined, settings.dataset, mining, training) as read:
            trained = run_steps(run, resolve_training(training, read), evaluation)
    else:
        _expect_training(run, steps)
    if trained is not None and trained.assembled.reused:
        folder = open_folder(trained.assembled.path)
        run_measures(run, with_trained(evaluation, {TRAINED: folder}, training.base))
        return
    base = evaluation.base or as_measured(training.base, evaluation)
    known, others = open_candidates(evaluation.model_copy(update={"base": base}))
    measure_systems(run, (known, *others), sets, evaluation)
    _expect_measures(run, TRAINED, sets)
    _expect(run, "compare", [f"measure-{TRAINED}-{name}" for name in sets])


def _compare(run: Context, settings: ComparisonRunSettings) -> None:
    mining, training, evaluation = settings.mining, settings.training, settings.evaluation
    arms = settings.comparison.arms
    check_arms(arms, mining, training)
    check_learning(run, mining, training, evaluation)
    minings = minings_of(arms, mining)
    evaluation, training, collection = _cut(run, settings)
    sets = read_sets(run, evaluation)
    check_choices(run, arms, training, evaluation, sets)
    _say(run, (), {**sets, **read_named(run, training, evaluation)})
    models: dict[str, dict[int, Measured]] = {arm.name: {} for arm in arms}
    for arm in arms:
        own = trained_by(arm, training)
        steps = check_training(own, minings.get(f"comparison.arms.{arm.name}", mining))
        check_processes(run.engine, own, steps)
        for seed in settings.comparison.seeds:
            name = f"{arm.name}-{seed}"
            found = mine_arm(run, arm, seed, collection, settings.output, mining)
            trained: Trained | None = None
            if found.triplets.reused:
                data = (found, settings.dataset, mining)
                trained = train_arm(run, arm, seed, *data, training, evaluation)
            else:
                _expect_training(run, steps, name)
            if trained is not None and trained.assembled.reused:
                models[arm.name][seed] = open_arm(arm, seed, trained, training, evaluation)
            else:
                _expect_measures(run, name, sets)
    base = open_measured("base", as_measured(resolve_training(training, "").base, evaluation))
    if all(len(of) == len(settings.comparison.seeds) for of in models.values()):
        measure_arms(run, base, models, sets, evaluation)
        return
    for model in (base, *(each for of in models.values() for each in of.values())):
        measure_all(run, model, sets, evaluation)
    _expect(run, "compare-arms", ())


def _cut(
    run: Context, settings: PipelineSettings
) -> tuple[EvaluationSettings, TrainingSettings, CollectionRef]:
    """Read the data set and cut it, as `cut_parts` does; say what its files were taken for."""
    collection = ingest(run, settings.dataset)
    _say(run, sources_of({"dataset": collection.documents}, CollectionNote), {})
    evaluation, training, left, _ = cut_parts(
        run, collection, settings.dataset, settings.training, settings.evaluation
    )
    return evaluation, training, left


PLANS: dict[str, Callable[[Context, Any], None]] = {
    "mine": _mine,
    "train": _train,
    "evaluate": _evaluate,
    "pipeline": _pipeline,
    "compare": _compare,
    "language_gap": _gap,
}


def _say(run: Context, files: Sequence[Understood], sets: Mapping[str, DatasetRef]) -> None:
    """Add what files were taken for to what the plan says."""
    told = [describe(file) for file in (*files, *sources_of(sets, SetNote))]
    run.graph.sources += [line for line in told if line not in run.graph.sources]


def _expect_training(run: Context, steps: Sequence[StepSettings], arm: str = "") -> None:
    """List the stages of a training whose data are still to be mined."""
    made = []
    for step in steps:
        name = f"{arm}-{step.name}" if arm else step.name
        mined = any(part.is_mined for part in step.data)
        _expect(run, f"gather-{name}", ["export"] if mined else [])
        _expect(run, f"guard-{name}", [f"gather-{name}"])
        plan = step.schedule
        rows = (plan.steps or 0) * plan.batch
        _expect(run, f"train-{name}", [f"guard-{name}"], Load(rows, "rows", ""))
        made.append(f"train-{name}")
    _expect(run, f"assemble-{arm}" if arm else "assemble", made)


def _expect_measures(run: Context, model: str, sets: Mapping[str, DatasetRef]) -> None:
    """List the measures of a model that is still to be trained."""
    for name, tables in sets.items():
        texts = sum(table.height for table, _ in sides_of_set(tables))
        _expect(run, f"measure-{model}-{name}", [f"read-set-{name}"], Load(texts, "texts", ""))


def _expect(run: Context, name: str, needs: Sequence[str], load: Load | None = None) -> None:
    run.graph.add(Node(name, tuple(needs), reused=False, load=load), None)
