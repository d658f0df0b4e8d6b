"""The page over a pipeline's parts, and the trained model's card with its results."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine import models
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import (
    TRAINED,
    EngineSettings,
    EvaluationSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.data import (
    LearningReport,
    LinkedFile,
    RowCount,
    Speed,
    StepReport,
)
from polymine.reporting.learning.page import render_learning
from polymine.reporting.mining.page import Timing
from polymine.tasks.engine.stages import report_task
from polymine.tasks.reporting.learning import (
    COMPARISONS,
    CURVES,
    SCORES,
    read_contamination,
    read_notes,
)
from polymine.tasks.reporting.learning_artifacts import publish_learning
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.parts import part_of, publish_parts, read_info, refresh_card
from polymine.tasks.store.output import PIPELINE, without_passwords

PARTS = ("mining", "training", "evaluation")
FILES = (
    LinkedFile("mining", "mining/report.html", "negatives, why each, and what was refused"),
    LinkedFile("triplets", "mining/triplets/", "the training set"),
    LinkedFile("model", "training/model/", "the adapters, with their card"),
    LinkedFile("evaluation", "evaluation/report.html", "every measure in full"),
)


@report_task("report-pipeline")
def report_pipeline(
    output: OutputSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    parts: Mapping[str, BaseModel],
    engine: EngineSettings,
) -> dict[str, Any]:
    """Write the page over all parts; read from their folders, wherever they were made."""
    folders = {name: Path(part_of(output, name).path).absolute() for name in PARTS}
    info = {name: read_info(folder) for name, folder in folders.items()}
    shown = {**parts, "output": output, "engine": engine}
    settings = {name: without_passwords(part) for name, part in shown.items()}
    report = _compose(folders, info, training, evaluation, Path(output.path).name, settings)
    own = report.comparisons.filter(model=TRAINED)
    _write_card(report, own, training, folders["training"], info["training"])
    headlines = {name: each["headline"] for name, each in info.items()}
    manifest = {
        "headline": report.headline,
        "settings": settings,
        "parts": headlines,
        "versions": dict(report.versions),
    }
    run = fingerprint(parts=headlines, of=parts)
    place = publish_parts(output, PIPELINE, run, {"report.html": render_learning(report)}, manifest)
    publish_learning(report, "pipeline", str(place))
    return {
        "output": str(place),
        "report": str(place / "report.html"),
        "headline": report.headline,
        "parts": headlines,
        "timings": [{"stage": t.stage, "seconds": round(t.seconds, 3)} for t in report.timings],
        "reused": [timing.stage for timing in report.timings if timing.reused],
    }


def _compose(
    folders: Mapping[str, Path],
    info: Mapping[str, Mapping[str, Any]],
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    title: str,
    settings: Mapping[str, Any],
) -> LearningReport:
    """Gather what the page shows from what the parts have written."""
    return LearningReport(
        title=title,
        headline=info["evaluation"]["headline"],
        base=training.base.model,
        models=tuple(info["evaluation"]["models"]),
        steps=tuple(_step(entry) for entry in info["training"]["steps"]),
        curves=pl.read_parquet(folders["training"] / CURVES, glob=False),
        speeds=tuple(Speed(**speed) for speed in info["training"]["speeds"]),
        comparisons=pl.read_parquet(folders["evaluation"] / COMPARISONS, glob=False),
        scores=pl.read_parquet(folders["evaluation"] / SCORES, glob=False),
        contamination=read_contamination(info["training"]),
        k=evaluation.k,
        confidence=evaluation.confidence,
        pivot=evaluation.pivot,
        settings=settings,
        timings=[
            Timing(f"{name}: {t['stage']}", t["seconds"], t["rows"], t["stage"] in each["reused"])
            for name, each in info.items()
            for t in each["timings"]
        ],
        versions=versions(),
        notes=read_notes(info["training"]) + read_notes(info["evaluation"]),
        files=FILES,
    )


def _write_card(
    report: LearningReport,
    comparisons: pl.DataFrame,
    training: TrainingSettings,
    folder: Path,
    info: Mapping[str, Any],
) -> None:
    kind = models.resolve(training.base.model).kind
    shown = replace(report, comparisons=comparisons)
    refresh_card(folder, render_adapter_card(shown, training, info["routes"], kind, str(folder)))


def _step(entry: Mapping[str, Any]) -> StepReport:
    settings = StepSettings.model_validate(entry["settings"])
    return StepReport(settings, tuple(RowCount(*row) for row in entry["rows"]), entry["reused"])
