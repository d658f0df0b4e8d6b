"""The page and tables of a comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine import models
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    ComparisonSettings,
    EvaluationSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.evaluation.arms import find_best
from polymine.reporting.learning.metrics import name_metric, write_gain
from polymine.reporting.learning.report import Called, ComparisonReport, StepReport
from polymine.reporting.learning.tables import ArmResult, list_arms
from polymine.reporting.report import LinkedFile, Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.evaluation.comparison import ARMS, COMPARISONS, DIFFERENCES, trained_by
from polymine.tasks.evaluation.encoding import as_measured
from polymine.tasks.reporting.evaluation import describe_call, describe_sets, remark_on_sets
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.outcome import show, write_folder
from polymine.tasks.store.datasets import open_folder
from polymine.tasks.store.output import COMPARISON
from polymine.training import recipes


@step("report-comparison")
def report_comparison(
    run: Context,
    compared: DatasetRef,
    sets: Mapping[str, DatasetRef],
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    output: OutputSettings,
    parts: Mapping[str, BaseModel],
    notes: tuple[Note, ...] = (),
    sources: tuple[Understood, ...] = (),
) -> dict[str, Any]:
    """Write the output folder of a comparison."""
    folder = open_folder(compared.path)
    arms = pl.read_parquet(folder / ARMS, glob=False)
    differences = pl.read_parquet(folder / DIFFERENCES, glob=False)
    results = list_arms(arms)
    report = ComparisonReport(
        title=Path(output.path).name,
        headline=_headline(results, differences, evaluation),
        base=training.base.model,
        steps=tuple(StepReport(step) for step in recipes.expand(training)),
        arms=arms,
        differences=differences,
        comparisons=_by_direction(pl.read_parquet(folder / COMPARISONS, glob=False)),
        pivot=evaluation.pivot,
        k=evaluation.k,
        confidence=evaluation.confidence,
        searched=describe_sets(sets),
        calls=_calls(training, evaluation, parts),
        notes=(*notes, *remark_on_sets(sets)),
        sources=sources,
        settings=show(**parts),
        fingerprints={"comparison": compared.fingerprint},
        versions=versions(),
        files=(
            LinkedFile(ARMS, ARMS, "every arm, seed, set and metric"),
            LinkedFile(DIFFERENCES, DIFFERENCES, "every pair of arms, corrected for their number"),
            LinkedFile(COMPARISONS, COMPARISONS, "every arm, all its seeds, by pair of languages"),
        ),
    )
    tables = {name: folder / name for name in (ARMS, DIFFERENCES, COMPARISONS)}
    summary = write_folder(report, {**tables}, output, COMPARISON, compared.fingerprint, "compare")
    shown = [
        {"set": r.set, "arm": r.arm, "metric": name_metric(r.metric, evaluation.k),
         "gain": write_gain(r.together)}
        for r in results if r.metric == results[0].metric
    ]  # fmt: skip
    return {**summary, "arms": shown}


def _by_direction(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sets that are asked in several pairs of languages; others have one figure."""
    pairs = pl.struct("document_language", "query_language").filter(group="direction")
    return comparisons.filter(pairs.n_unique().over("set") > 1)


def _calls(
    training: TrainingSettings, evaluation: EvaluationSettings, parts: Mapping[str, BaseModel]
) -> tuple[Called, ...]:
    """How the base and what each arm trains are called to be measured."""
    comparison = parts.get("comparison")
    trained = {"base": training.base}
    if isinstance(comparison, ComparisonSettings):
        trained |= {arm.name: trained_by(arm, training).base for arm in comparison.arms}
    return tuple(
        describe_call(name, as_measured(models.settled(base), evaluation))
        for name, base in trained.items()
    )


def _headline(
    results: list[ArmResult], differences: pl.DataFrame, evaluation: EvaluationSettings
) -> str:
    """Name the best arm of the first set, or those that are not told apart."""
    if not results:
        return say("learning", "best_arm", [], "", "")
    name, metric = results[0].set, results[0].metric
    own = {r.arm: r for r in results if (r.set, r.metric) == (name, metric)}
    if len(own) == 1:  # nothing to be best of
        (alone,) = own.values()
        return f"{name_metric(metric, evaluation.k)} on {name} {write_gain(alone.together)}"
    best = find_best(differences, name, metric, evaluation.confidence) or list(own)
    gain = f"{name_metric(metric, evaluation.k)} on {name} {write_gain(own[best[0]].together)}"
    return say("learning", "best_arm", best, gain, own[best[0]].together.verdict)
