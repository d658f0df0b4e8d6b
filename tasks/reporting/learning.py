"""Writes the folders of training, evaluation, pipeline and comparison, each with its page."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine import models
from polymine.data_contracts.references import DatasetRef, Manifest
from polymine.data_contracts.settings import (
    EngineSettings,
    EvaluationSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.data_contracts.trained import TrainedModel
from polymine.reporting.formatting import count_of
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.data import (
    Contamination,
    Leak,
    LearningReport,
    LinkedFile,
    RowCount,
    Speed,
    StepReport,
)
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.words import note_untouched, write_headline
from polymine.reporting.mining.notes import Note
from polymine.reporting.mining.page import Timing
from polymine.tasks.engine.stages import report_task
from polymine.tasks.evaluation.gains import read_comparisons
from polymine.tasks.evaluation.measuring import untouched_languages
from polymine.tasks.reporting.learning_artifacts import publish_learning
from polymine.tasks.reporting.mining import versions
from polymine.tasks.store.datasets import info_of, open_folder, read_manifest
from polymine.tasks.store.model_folder import MODEL
from polymine.tasks.store.output import EVALUATION, TRAINING, publish_folder, without_passwords
from polymine.tasks.training.model import describe_steps, log_files, model_files, read_curves
from polymine.tasks.training.rows import describe_source

CURVES, COMPARISONS, SCORES = "curves.parquet", "comparisons.parquet", "scores.parquet"


@dataclass(frozen=True)
class Trained:
    """All that training made, by references."""

    steps: tuple[StepSettings, ...]
    rows: Mapping[str, DatasetRef]
    made: Mapping[str, DatasetRef]
    model: TrainedModel
    assembled: DatasetRef


@report_task("report-training")
def report_training(
    trained: Trained,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    output: OutputSettings,
    engine: EngineSettings,
) -> dict[str, Any]:
    """Write the output folder of a training run: the model, its curves, its page."""
    report = LearningReport(
        title=Path(output.path).name,
        headline=_training_headline(trained),
        base=training.base.model,
        kind="training",
        settings=_shown(training=training, evaluation=evaluation, output=output, engine=engine),
        timings=_timings(
            {f"gather {name}": ref for name, ref in trained.rows.items()}
            | {f"train {name}": ref for name, ref in trained.made.items()}
        ),
        fingerprints={"model": trained.assembled.fingerprint},
        notes=_unchecked(trained.rows),
        versions=versions(),
        **describe_training(trained),
    )
    kind = models.resolve(training.base.model).kind
    card = render_adapter_card(report, training, trained.model.routes, kind, run=report.title)
    report = _with_files(report, [(MODEL + "/", "the adapters, with their card")])
    curves = io.BytesIO()
    report.curves.write_parquet(curves)
    files: dict[str, Path | str | bytes] = {
        **model_files(trained.assembled),
        **log_files(trained.made),
        f"{MODEL}/README.md": card,
        CURVES: curves.getvalue(),
        "report.html": render_learning(report),
    }
    manifest = _manifest(report, {"routes": trained.model.routes, **_training_info(report)})
    run = trained.model.fingerprint
    place = publish_folder(output, files, manifest, kind=TRAINING, run=run)
    publish_learning(report, "train", str(place))
    return _summary(place, report)


@dataclass(frozen=True)
class Evaluated:
    """All that evaluation made, by references; `models` without the base."""

    base: str
    models: tuple[str, ...]
    sets: Mapping[str, DatasetRef]
    measures: Mapping[str, Mapping[str, DatasetRef]]
    compared: DatasetRef
    notes: tuple[Note, ...] = ()


@report_task("report-evaluation")
def report_evaluation(
    evaluated: Evaluated,
    evaluation: EvaluationSettings,
    output: OutputSettings,
    engine: EngineSettings,
) -> dict[str, Any]:
    """Write the output folder of an evaluation: figures as tables, and the page."""
    comparisons, scores = read_comparisons(evaluated.compared)
    report = LearningReport(
        title=Path(output.path).name,
        headline=describe_gain(comparisons, scores, evaluated.models, evaluation.k),
        base=evaluated.base,
        models=evaluated.models,
        comparisons=comparisons,
        scores=scores,
        k=evaluation.k,
        confidence=evaluation.confidence,
        pivot=evaluation.pivot,
        kind="evaluation",
        settings=_shown(evaluation=evaluation, output=output, engine=engine),
        timings=_timings(
            {
                f"measure {model} on {name}": ref
                for model, of in evaluated.measures.items()
                for name, ref in of.items()
            }
        ),
        fingerprints={"comparison": evaluated.compared.fingerprint},
        versions=versions(),
        notes=(*evaluated.notes, *_untouched(evaluated)),
    )
    folder = open_folder(evaluated.compared.path)
    files: dict[str, Path | str | bytes] = {
        COMPARISONS: folder / COMPARISONS,
        SCORES: folder / SCORES,
        **{
            f"measures/{model}/{name}.parquet": open_folder(ref.path) / "part-00000.parquet"
            for model, of in evaluated.measures.items()
            for name, ref in of.items()
        },
    }
    report = _with_files(
        report,
        [
            (COMPARISONS, "means and gains with intervals"),
            (SCORES, "sets without queries"),
            ("measures/", "every query, pair or item"),
        ],
    )
    files["report.html"] = render_learning(report)
    manifest = _manifest(report, {"models": list(evaluated.models), "base": evaluated.base})
    run = evaluated.compared.fingerprint
    place = publish_folder(output, files, manifest, kind=EVALUATION, run=run)
    publish_learning(report, "evaluate", str(place))
    return _summary(place, report)


def describe_training(trained: Trained) -> dict[str, Any]:
    """Describe steps, curves, speeds and contamination as LearningReport takes them."""
    info = describe_steps(trained.made)
    return {
        "steps": tuple(
            StepReport(step, _row_counts(step, info[step.name]), trained.made[step.name].reused)
            for step in trained.steps
        ),
        "curves": read_curves(trained.made),
        "speeds": tuple(_speed(step, info[step.name]) for step in trained.steps),
        "contamination": _contamination(trained.rows),
    }


def _unchecked(rows: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Name the sets that training data could not be compared with."""
    names = sorted({name for ref in rows.values() for name in info_of(ref).get("unchecked", ())})
    text = (
        f"{', '.join(names)}: read by MTEB itself, so nobody looked whether training data holds "
        "their texts"
    )
    return (Note("warning", text),) if names else ()


def read_notes(info: Mapping[str, Any]) -> tuple[Note, ...]:
    """Read the remarks of a run from its manifest."""
    return tuple(Note(**note) for note in info.get("notes", ()))


def read_contamination(info: Mapping[str, Any]) -> Contamination | None:
    """Read what the manifest of a training run says of it."""
    found = info["contamination"]
    if found is None:
        return None
    examples = tuple(Leak(**leak) for leak in found["examples"])
    return Contamination(**{**found, "examples": examples})


def describe_gain(
    comparisons: pl.DataFrame, scores: pl.DataFrame, names: Sequence[str], k: int
) -> str:
    """Say what the first model gains on the first set."""
    if comparisons.height:
        first = comparisons.row(0, named=True)
        model = names[0] if names else first["model"]
        return write_headline(comparisons, first["set"], model, k)
    gained = scores.filter(pl.col("gain").is_not_null())
    if gained.height:
        row = gained.row(0, named=True)
        return f"{row['metric']} on {row['set']}: {row['value']:.3f}, {row['gain']:+.3f}"
    return "nothing was measured"


def read_folder(place: Path) -> Manifest:
    """Read the manifest of a folder that training or evaluation has written."""
    found = read_manifest(place)
    assert found is not None, f"{place} was just written"
    return found


def _training_headline(trained: Trained) -> str:
    info = describe_steps(trained.made)
    steps = sum(int(each["steps"]) for each in info.values())
    tokens = sum(int(each["tokens"]) for each in info.values())
    return (
        f"{count_of(len(trained.made), 'adapter')} trained in {count_of(steps, 'step')}, "
        f"{tokens / 1e6:.1f} million tokens"
    )


def _row_counts(step: StepSettings, info: Mapping[str, Any]) -> tuple[RowCount, ...]:
    counts = []
    for name, rows in info["rows"].items():
        source, document, query = name.split(" | ")[:3]
        part = step.data[int(source.removeprefix("data-"))]
        counts.append(RowCount(describe_source(part), document, query, rows))
    return tuple(counts)


def _speed(step: StepSettings, info: Mapping[str, Any]) -> Speed:
    seconds = max(float(info["seconds"]), 1e-6)
    rows = int(info["steps"]) * step.schedule.batch
    return Speed(step.name, info["steps"], seconds, info["tokens"] / seconds, rows / seconds)


def _contamination(rows: Mapping[str, DatasetRef]) -> Contamination | None:
    """Sum up what the guard found; None where there was nothing to look into."""
    info = [info_of(reference) for reference in rows.values()]
    if not any(each.get("checked") for each in info):
        return None
    overlaps = [overlap for each in info for overlap in each["overlaps"]]
    return Contamination(
        checked=sum(reference.rows for reference in rows.values()),
        exact=sum(int(each["equal"]) for each in info),
        near=sum(int(each["near"]) for each in info),
        removed=sum(int(each["removed"]) for each in info),
        examples=tuple(
            Leak(o["set"], f"{o['source']}, {o['side']}", o["text"], 1.0 if o["kind"] == "equal"
                 else 0.8)
            for o in overlaps
        ),
    )  # fmt: skip


def _training_info(report: LearningReport) -> dict[str, Any]:
    return {
        "steps": [
            {
                "settings": step.settings.model_dump(mode="json"),
                "rows": [[c.source, c.document_language, c.query_language, c.rows]
                         for c in step.counts],
                "reused": step.reused,
            }
            for step in report.steps
        ],
        "speeds": [vars(speed) for speed in report.speeds],
        "contamination": None
        if report.contamination is None
        else dataclasses.asdict(report.contamination),
    }  # fmt: skip


def _untouched(evaluated: Evaluated) -> tuple[Note, ...]:
    return tuple(
        note_untouched(model, name, languages)
        for model, of in evaluated.measures.items()
        for name, measures in of.items()
        if (languages := untouched_languages(measures))
    )


def _timings(stages: Mapping[str, DatasetRef]) -> list[Timing]:
    return [Timing(name, r.seconds, r.rows, r.reused) for name, r in stages.items()]


def _shown(**parts: BaseModel) -> dict[str, Any]:
    return {name: without_passwords(part) for name, part in parts.items()}


def _with_files(report: LearningReport, files: Sequence[tuple[str, str]]) -> LearningReport:
    return replace(report, files=tuple(LinkedFile(n, n, about) for n, about in files))


def _manifest(report: LearningReport, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "headline": report.headline,
        "settings": dict(report.settings),
        "timings": [
            {"stage": timing.stage, "seconds": round(timing.seconds, 3), "rows": timing.rows}
            for timing in report.timings
        ],
        "reused": [timing.stage for timing in report.timings if timing.reused],
        "versions": dict(report.versions),
        "notes": [vars(note) for note in report.notes],
        **more,
    }


def _summary(place: Path, report: LearningReport) -> dict[str, Any]:
    return {
        "output": str(place),
        "report": str(place / "report.html"),
        "headline": report.headline,
        "timings": [
            {"stage": timing.stage, "seconds": round(timing.seconds, 3)}
            for timing in report.timings
        ],
        "reused": [timing.stage for timing in report.timings if timing.reused],
    }
