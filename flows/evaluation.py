"""The evaluation flow: models against the untouched base, on every set, in every direction."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EngineSettings, EvaluationSettings, OutputSettings
from polymine.tasks.engine.cluster import working
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, open_candidates
from polymine.tasks.evaluation.gains import compare_models
from polymine.tasks.evaluation.leaving_out import leave_out_alike, left_out_of
from polymine.tasks.evaluation.measuring import (
    UNTOUCHED,
    check_runs,
    measure,
    measure_run,
    measure_words,
)
from polymine.tasks.evaluation.reading import plain_form, read_set
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.evaluation import Evaluated, report_evaluation
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.output import EVALUATION, check_output, resolve_path
from polymine.tasks.training.contamination import look_for_seen


@flow(name="evaluate", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
def evaluate(
    evaluation: EvaluationSettings,
    output: OutputSettings,
    engine: EngineSettings = EngineSettings(),
) -> dict[str, Any]:
    """Measure models.

    Compares them with the untouched base, or measures it alone: retrieval in every direction of
    documents' and queries' languages, pooled, and whatever else the sets measure, with intervals.
    """
    output = resolve_path(output)
    check_roots(evaluation=evaluation, output=output, engine=engine)
    check_output(output, settings={"evaluation": evaluation}, kind=EVALUATION)
    with working(engine) as run:
        return report_evaluation(run, run_measures(run, evaluation), evaluation, output)


def run_measures(run: Context, evaluation: EvaluationSettings) -> Evaluated:
    """Read the sets, measure base and models on each, and compare."""
    base, candidates = open_candidates(evaluation)
    sets = read_sets(run, evaluation)
    check_runs(evaluation)
    sets, notes = look_for_seen(run, candidates, sets, evaluation)
    systems = (base, *candidates)
    measures = measure_systems(run, systems, sets, evaluation)
    further = {
        k: measure_systems(run, systems, sets, evaluation.model_copy(update={"k": k}))
        for k in evaluation.cutoffs
    }
    plain = measure_plain(run, systems, sets, evaluation)
    compared = compare_models(run, sets, measures, evaluation, further)
    calls = {each.name: each.call for each in systems}
    name = base.call.model
    if evaluation.baseline == "bm25":
        name, calls = "BM25", {UNTOUCHED: calls.pop("base"), **calls}
    names = tuple(model for model in measures if model != "base")
    return Evaluated(name, names, sets, measures, compared, calls, notes, plain, further)


def measure_systems(
    run: Context,
    systems: Sequence[Measured],
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> dict[str, dict[str, DatasetRef]]:
    """Measure base, models and rankings of others: name and set to measures, `base` first."""
    words = {}  # rankings first: nothing is encoded for one that cannot be measured
    if evaluation.baseline == "bm25":
        words = {name: measure_words(run, tables, evaluation) for name, tables in sets.items()}
    ranked: dict[str, dict[str, DatasetRef]] = {}
    for chosen in evaluation.runs:
        measured = measure_run(run, chosen, sets[chosen.set], evaluation)
        ranked.setdefault(chosen.name, {})[chosen.set] = measured
    found = {each.name: measure_all(run, each, sets, evaluation) for each in systems}
    if words:
        found = {"base": words, UNTOUCHED: found.pop("base"), **found}
    return found | ranked


def measure_plain(
    run: Context,
    systems: Sequence[Measured],
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> dict[str, dict[str, DatasetRef]]:
    """Measure as plain trec_eval would, where that differs: set name and model to measures."""
    found: dict[str, dict[str, DatasetRef]] = {}
    called = {"base": UNTOUCHED} if evaluation.baseline == "bm25" else {}
    for chosen in evaluation.sets:
        if (plain := plain_form(chosen, sets[chosen.name])) is not None:
            tables = read_set(run, plain, evaluation.seed)
            if len(left_out_of(sets[chosen.name])):  # the same queries as the main figure
                tables = leave_out_alike(run, chosen.name, tables, sets[chosen.name])
            found[chosen.name] = {
                called.get(each.name, each.name): measure(run, each, plain, tables, evaluation)
                for each in systems
            }
    return found


def read_sets(run: Context, evaluation: EvaluationSettings) -> dict[str, DatasetRef]:
    """Read every set; all but the first time they are there already."""
    return {chosen.name: read_set(run, chosen, evaluation.seed) for chosen in evaluation.sets}


def measure_all(
    run: Context,
    measured: Measured,
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> dict[str, DatasetRef]:
    """Measure one model on every set."""
    return {
        chosen.name: measure(run, measured, chosen, sets[chosen.name], evaluation)
        for chosen in evaluation.sets
    }
