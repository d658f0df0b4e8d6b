"""Writes the folder of a training run: the model, its curves, its page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymine import models
from polymine.data_contracts.notes import AdapterNote, RowsNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EvaluationSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.data_contracts.trained import TrainedModel
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.report import (
    Contamination,
    RowCount,
    Speed,
    StepReport,
    TrainingReport,
)
from polymine.reporting.report import LinkedFile, Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.monitoring.events import MODEL as FINISHED
from polymine.tasks.monitoring.events import announce
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.outcome import (
    Files,
    list_timings,
    merged,
    show,
    sources_of,
    write_folder,
    write_parquet,
)
from polymine.tasks.store.datasets import note_of
from polymine.tasks.store.model_folder import MODEL
from polymine.tasks.store.output import TRAINING
from polymine.tasks.training.data import describe_source
from polymine.tasks.training.model import (
    describe_steps,
    log_files,
    model_files,
    read_curves,
    read_looks,
    unheld,
)
from polymine.tasks.training.steps import LOOKS

CURVES = "curves.parquet"


@dataclass(frozen=True)
class Trained:
    """All that training made, by references; `apart` are sets that it was kept apart from.

    `notes` are what the report should say of what chose.
    """

    steps: tuple[StepSettings, ...]
    rows: Mapping[str, DatasetRef]
    apart: Mapping[str, DatasetRef]
    made: Mapping[str, DatasetRef]
    model: TrainedModel
    assembled: DatasetRef
    notes: tuple[Note, ...] = ()


@step("report-training")
def report_training(
    run: Context,
    trained: Trained,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    output: OutputSettings,
) -> dict[str, Any]:
    """Write the output folder of a training run: the model, its curves, its page."""
    info = describe_steps(trained.made)
    steps = sum(each.steps for each in info.values())
    tokens = sum(each.tokens for each in info.values())
    report = TrainingReport(
        title=Path(output.path).name,
        headline=say("learning", "trained", len(trained.made), steps, tokens),
        base=training.base.model,
        steps=tuple(
            StepReport(step, _row_counts(step, info[step.name]), trained.made[step.name].reused)
            for step in trained.steps
        ),
        curves=read_curves(trained.made),
        looks=read_looks(trained.made),
        chosen={name: each.chosen for name, each in info.items() if each.chosen is not None},
        speeds=tuple(_speed(step, info[step.name]) for step in trained.steps),
        contamination=_contamination(trained.rows),
        routes=trained.model.routes,
        settings=show(training=training, evaluation=evaluation, output=output, engine=run.engine),
        timings=list_timings(
            {f"gather {name}": ref for name, ref in trained.rows.items()}
            | {f"train {name}": ref for name, ref in trained.made.items()}
        ),
        fingerprints={"model": trained.assembled.fingerprint},
        notes=(
            *trained.notes,
            *_unchecked(trained.rows),
            *_put_back(info),
            *_by_language(info),
            *_closed(info),
            *_shared(info),
        ),
        sources=merged(sources_of(trained.rows, RowsNote), sources_of(trained.apart, SetNote)),
        versions=versions(),
        files=(LinkedFile(f"{MODEL}/", f"{MODEL}/", "the adapters, with their card"),),
    )
    kind = models.resolve(training.base.model).kind
    tables = {CURVES: report.curves, **({LOOKS: report.looks} if report.chosen else {})}
    files: Files = {
        **model_files(trained.assembled),
        **log_files(trained.made),
        f"{MODEL}/README.md": render_adapter_card(
            report, training, trained.model.routes, kind, run=report.title
        ),
        **{name: write_parquet(table) for name, table in tables.items()},
    }
    made = write_folder(report, files, output, TRAINING, trained.model.fingerprint, "train")
    doubtful = any(note.level == "warning" for note in report.notes)
    announce(FINISHED, made["output"], report.headline, doubtful=doubtful)
    return made


def _unchecked(rows: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Name the sets that training data could not be compared with."""
    notes = [note_of(reference, RowsNote) for reference in rows.values()]
    names = sorted({name for note in notes for name in note.unchecked})
    return (Note("warning", say("learning", "unchecked", names)),) if names else ()


def _put_back(info: Mapping[str, AdapterNote]) -> tuple[Note, ...]:
    """Warn of steps of which nothing was kept."""
    return tuple(
        Note("warning", say("learning", "chosen", name, note.chosen))
        for name, note in info.items()
        if note.chosen is not None and not note.chosen.step
    )


def _by_language(info: Mapping[str, AdapterNote]) -> tuple[Note, ...]:
    """Warn of languages that end below the base, and name those too small to tell."""
    found = []
    for name, note in info.items():
        if note.chosen is not None and note.chosen.below:
            found.append(Note("warning", say("learning", "below", name, note.chosen.below)))
        if few := unheld(note):
            found.append(Note("remark", say("learning", "unheld", name, few)))
    return tuple(found)


def _closed(info: Mapping[str, AdapterNote]) -> tuple[Note, ...]:
    """Say how many pairs of a batch were no negatives."""
    return tuple(
        Note("remark", say("learning", "closed", name, note.closed))
        for name, note in info.items()
        if note.closed
    )


def _shared(info: Mapping[str, AdapterNote]) -> tuple[Note, ...]:
    """Say which steps several processes trained: one alone would differ by rounding."""
    return tuple(
        Note("remark", say("learning", "trained_by", name, note.processes))
        for name, note in info.items()
        if note.processes > 1
    )


def _row_counts(step: StepSettings, note: AdapterNote) -> tuple[RowCount, ...]:
    from polymine.training.batches import count_passes

    counts = []
    passes = count_passes(note.rows, note.shares, note.steps, step.schedule.batch)
    for name, rows in note.rows.items():
        source, document, query = name.split(" | ")[:3]
        part = step.data[int(source.removeprefix("data-"))]
        share = rows / sum(note.rows.values())
        counts.append(RowCount(describe_source(part), document, query, rows, share, passes[name]))
    return tuple(counts)


def _speed(step: StepSettings, note: AdapterNote) -> Speed:
    seconds = max(note.seconds, 1e-6)
    rows = note.steps * step.schedule.batch
    return Speed(step.name, note.steps, seconds, note.tokens / seconds, rows / seconds)


def _contamination(rows: Mapping[str, DatasetRef]) -> Contamination | None:
    """Sum up what the guard found; None where there was nothing to look into."""
    notes = [note_of(reference, RowsNote) for reference in rows.values()]
    if not any(note.checked for note in notes):
        return None
    return Contamination(
        sum(reference.rows for reference in rows.values()),
        sum(note.equal for note in notes),
        sum(note.near for note in notes),
        sum(note.removed for note in notes),
        tuple(found for note in notes for found in note.overlaps),
        tuple({name: level for note in notes for name, level in note.levels.items()}.items()),
    )
