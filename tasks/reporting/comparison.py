"""The page and tables of a comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSettings, OutputSettings, TrainingSettings
from polymine.reporting.learning.data import LearningReport, LinkedFile, StepReport
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.tables import ArmResult, list_arms
from polymine.reporting.learning.words import name_metric, write_gain
from polymine.tasks.engine.stages import report_task
from polymine.tasks.reporting.learning_artifacts import publish_learning
from polymine.tasks.reporting.mining import versions
from polymine.tasks.store.datasets import open_folder
from polymine.tasks.store.output import COMPARISON, publish_folder, without_passwords
from polymine.training import recipes

ARMS_FILE, DIFFERENCES = "arms.parquet", "differences.parquet"


def _headline(best: ArmResult | None, k: int) -> str:
    """Name the arm that gains most, unless it may be chance that it gains at all."""
    if best is None:
        return "nothing was measured"
    gain = f"{name_metric(best.metric, k)} on {best.set} {write_gain(best.together)}"
    if best.together.low is None or best.together.low <= 0:
        return f"no arm clearly gains over the base; the largest is {best.arm}: {gain}"
    return f"{best.arm} gains most: {gain}"


@report_task("report-comparison")
def report_comparison(
    compared: DatasetRef,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    output: OutputSettings,
    parts: Mapping[str, BaseModel],
) -> dict[str, Any]:
    """Write the output folder of a comparison."""
    folder = open_folder(compared.path)
    arms = pl.read_parquet(folder / ARMS_FILE, glob=False)
    results = list_arms(arms)
    best = max(results, key=lambda r: r.together.gain or 0.0) if results else None
    report = LearningReport(
        title=Path(output.path).name,
        headline=_headline(best, evaluation.k),
        base=training.base.model,
        steps=tuple(StepReport(step) for step in recipes.expand(training)),
        arms=arms,
        differences=pl.read_parquet(folder / DIFFERENCES, glob=False),
        k=evaluation.k,
        confidence=evaluation.confidence,
        kind="comparison",
        settings={name: without_passwords(part) for name, part in parts.items()},
        fingerprints={"comparison": compared.fingerprint},
        versions=versions(),
        files=(
            LinkedFile(ARMS_FILE, ARMS_FILE, "every arm, seed, set and metric"),
            LinkedFile(DIFFERENCES, DIFFERENCES, "every arm minus the last one"),
        ),
    )  # fmt: skip
    manifest = {"headline": report.headline, "settings": dict(report.settings),
                "versions": dict(report.versions)}  # fmt: skip
    files: dict[str, Path | str | bytes] = {
        ARMS_FILE: folder / ARMS_FILE, DIFFERENCES: folder / DIFFERENCES,
        "report.html": render_learning(report),
    }  # fmt: skip
    place = publish_folder(output, files, manifest, kind=COMPARISON, run=compared.fingerprint)
    publish_learning(report, "compare", str(place))
    shown = [
        {"set": r.set, "arm": r.arm, "metric": name_metric(r.metric, evaluation.k),
         "gain": write_gain(r.together)}
        for r in results if r.metric == results[0].metric
    ]  # fmt: skip
    return {"output": str(place), "report": str(place / "report.html"),
            "headline": report.headline, "arms": shown}  # fmt: skip
