"""The page over a pipeline's parts, and the trained model's card with its results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine import models
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import (
    TRAINED,
    EvaluationSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.report import (
    EvaluationReport,
    PipelineReport,
    TrainingReport,
)
from polymine.reporting.report import LinkedFile, Note, Report, Timing
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.evaluation.gains import CHANGES, DIFFERENCES
from polymine.tasks.monitoring.artifacts import publish
from polymine.tasks.reporting.evaluation import COMPARISONS, SCORES
from polymine.tasks.reporting.learning_artifacts import make_learning_artifacts
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.outcome import merged, show, sum_up
from polymine.tasks.reporting.parts import publish_parts, read_info, refresh_card
from polymine.tasks.reporting.training import CURVES
from polymine.tasks.store.output import PIPELINE
from polymine.tasks.training.steps import LOOKS

PARTS = ("mining", "training", "evaluation")
FILES = (
    LinkedFile("mining", "mining/report.html", "negatives, why each, and what was refused"),
    LinkedFile("triplets", "mining/triplets/", "the training set"),
    LinkedFile("model", "training/model/", "the adapters, with their card"),
    LinkedFile("evaluation", "evaluation/report.html", "every measure in full"),
)


@step("report-pipeline")
def report_pipeline(
    run: Context,
    folders: Mapping[str, str],
    output: OutputSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    parts: Mapping[str, BaseModel],
    notes: tuple[Note, ...] = (),
) -> dict[str, Any]:
    """Write the page over all parts; read from their folders, wherever they were made."""
    of = {name: Path(folder).absolute() for name, folder in folders.items()}
    settings = show(**parts, output=output, engine=run.engine)
    joined = join_parts(of, Path(output.path).name, settings)
    report = joined.model_copy(update={"notes": notes + joined.notes})
    # The card is about the trained model alone, though others may have been measured beside it.
    own = report.model_copy(update={"comparisons": report.comparisons.filter(model=TRAINED)})
    folder, kind = of["training"], models.resolve(training.base.model).kind
    card = render_adapter_card(own, training, report.routes, kind, str(folder))
    refresh_card(folder, card)
    headlines = {name: read_info(folder)["headline"] for name, folder in of.items()}
    manifest = {**report.model_dump(mode="json"), "parts": headlines}
    version = fingerprint(parts=headlines, of=parts)
    pages = {"report.html": render_learning(report)}
    whole = publish_parts(output, PIPELINE, version, pages, manifest)
    publish(make_learning_artifacts(report, "pipeline", str(whole)))
    return {**sum_up(report, whole), "parts": headlines}


def join_parts(folders: Mapping[str, Path], title: str, settings: dict[str, Any]) -> PipelineReport:
    """Read the reports of the parts from their manifests and tables, and put them together."""
    info = {name: read_info(folder) for name, folder in folders.items()}

    def table(part: str, name: str) -> pl.DataFrame:
        return pl.read_parquet(folders[part] / name, glob=False)

    looks = {"looks": table("training", LOOKS)} if info["training"]["chosen"] else {}
    trained = TrainingReport.model_validate(
        {**info["training"], "curves": table("training", CURVES), **looks}
    )
    measured = EvaluationReport.model_validate(
        {**info["evaluation"], "comparisons": table("evaluation", COMPARISONS),
         "scores": table("evaluation", SCORES), "changes": table("evaluation", CHANGES),
         "differences": table("evaluation", DIFFERENCES)}
    )  # fmt: skip
    pages = {name: Report.model_validate(each) for name, each in info.items()}
    timings = tuple(
        Timing(f"{name}: {t.stage}", t.seconds, t.rows, t.reused)
        for name, page in pages.items()
        for t in page.timings
    )
    own = {
        "headline": measured.headline, "k": measured.k, "confidence": measured.confidence,
        "searched": measured.searched, "calls": measured.calls,
        "title": title, "settings": settings, "timings": timings, "versions": versions(),
        "notes": trained.notes + measured.notes, "fingerprints": {}, "files": FILES,
        "sources": merged(*(page.sources for page in pages.values())),
    }  # fmt: skip
    return PipelineReport(**{**dict(measured), **dict(trained), **own})
