"""Writes the folders of training and of evaluation, each with its page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine import models
from polymine.data_contracts.notes import (
    AdapterNote,
    CollectionNote,
    MeasuresNote,
    RowsNote,
    SetNote,
    Understood,
)
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluationSettings,
    OutputSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.data_contracts.trained import TrainedModel
from polymine.evaluation.arms import find_best
from polymine.evaluation.collection import POOL
from polymine.evaluation.matrix import FEWEST
from polymine.evaluation.mteb_results import as_mteb_result
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.metrics import write_headline
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.report import (
    Called,
    Contamination,
    EvaluationReport,
    Leak,
    LearningReport,
    LinkedFile,
    RowCount,
    Searched,
    Speed,
    StepReport,
    TrainingReport,
)
from polymine.reporting.learning.tables import PRIMARY, pick_result
from polymine.reporting.report import Note, Report, Timing
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.evaluation.gains import CHANGES, DIFFERENCES, read_comparisons
from polymine.tasks.evaluation.measuring import untouched_languages
from polymine.tasks.reporting.learning_artifacts import publish_learning
from polymine.tasks.reporting.mining import versions
from polymine.tasks.store.datasets import load, note_of, open_folder
from polymine.tasks.store.model_folder import MODEL
from polymine.tasks.store.output import EVALUATION, TRAINING, publish_folder, without_passwords
from polymine.tasks.training.data import describe_source
from polymine.tasks.training.model import (
    describe_steps,
    log_files,
    model_files,
    read_curves,
    read_looks,
)
from polymine.tasks.training.steps import LOOKS

CURVES, COMPARISONS, SCORES = "curves.parquet", "comparisons.parquet", "scores.parquet"
COMPARED = {  # files that comparing has written
    COMPARISONS: "means and gains with intervals",
    SCORES: "sets without queries",
    CHANGES: "queries that got better and worse most",
    DIFFERENCES: "every pair of models, corrected for their number",
}
MEASURED = {
    "mteb/": "results of retrieval as MTEB writes them",
    "measures/": "every query, pair or item",
}
Files = dict[str, Path | str | bytes]


@dataclass(frozen=True)
class Trained:
    """All that training made, by references; `apart` are sets that it was kept apart from."""

    steps: tuple[StepSettings, ...]
    rows: Mapping[str, DatasetRef]
    apart: Mapping[str, DatasetRef]
    made: Mapping[str, DatasetRef]
    model: TrainedModel
    assembled: DatasetRef


@dataclass(frozen=True)
class Evaluated:
    """All that evaluation made, by references.

    `models` are without the base, `calls` of all; `plain` are measures as plain trec_eval has them,
    of the sets for which that differs.
    """

    base: str
    models: tuple[str, ...]
    sets: Mapping[str, DatasetRef]
    measures: Mapping[str, Mapping[str, DatasetRef]]
    compared: DatasetRef
    calls: Mapping[str, EncoderSettings]
    notes: tuple[Note, ...] = ()
    plain: Mapping[str, Mapping[str, DatasetRef]] = field(default_factory=dict)


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
        notes=(*_unchecked(trained.rows), *_put_back(info), *_closed(info)),
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
        **{name: _parquet(table) for name, table in tables.items()},
    }
    return write_folder(report, files, output, TRAINING, trained.model.fingerprint, "train")


@step("report-evaluation")
def report_evaluation(
    run: Context,
    evaluated: Evaluated,
    evaluation: EvaluationSettings,
    output: OutputSettings,
) -> dict[str, Any]:
    """Write the output folder of an evaluation: figures as tables, and the page."""
    comparisons, scores = read_comparisons(evaluated.compared)
    folder = open_folder(evaluated.compared.path)
    differences = pl.read_parquet(folder / DIFFERENCES, glob=False)
    measures = {
        (model, name): ref for model, of in evaluated.measures.items() for name, ref in of.items()
    }
    report = EvaluationReport(
        title=Path(output.path).name,
        headline=describe_gain(comparisons, scores, differences, evaluated.models, evaluation),
        base=evaluated.base,
        models=evaluated.models,
        calls=tuple(
            Called(name, call.query_prompt or "", call.document_prompt or "", call.max_length)
            for name, call in evaluated.calls.items()
        ),
        comparisons=comparisons,
        scores=scores,
        changes=pl.read_parquet(folder / CHANGES, glob=False),
        differences=differences,
        k=evaluation.k,
        confidence=evaluation.confidence,
        searched=describe_sets(evaluated.sets),
        sources=sources_of(evaluated.sets, SetNote),
        pivot=evaluation.pivot,
        settings=show(evaluation=evaluation, output=output, engine=run.engine),
        timings=list_timings(
            {f"measure {m} on {name}": ref for (m, name), ref in measures.items()}
        ),
        fingerprints={"comparison": evaluated.compared.fingerprint},
        versions=versions(),
        notes=(
            *evaluated.notes,
            *remark_on_sets(evaluated.sets),
            *remark_on_plain(evaluated, evaluation.k),
            *remark_on_few(evaluated.measures["base"]),
            *_warn_of_measures(measures),
        ),
        files=tuple(
            LinkedFile(name, name, about) for name, about in {**COMPARED, **MEASURED}.items()
        ),
    )
    files: Files = {
        **{name: folder / name for name in COMPARED},
        **_mteb_files(evaluated, evaluation),
        **{
            f"measures/{model}/{name}.parquet": open_folder(ref.path) / "part-00000.parquet"
            for (model, name), ref in measures.items()
        },
    }
    version = evaluated.compared.fingerprint
    return write_folder(report, files, output, EVALUATION, version, "evaluate")


def _warn_of_measures(measures: Mapping[tuple[str, str], DatasetRef]) -> list[Note]:
    """Warn of queries that a ranking leaves out, and of languages that no adapter touches."""
    counts = {key: note_of(ref, MeasuresNote).unranked for key, ref in measures.items()}
    languages = {key: untouched_languages(ref) for key, ref in measures.items()}
    return [
        Note("warning", say("learning", sentence, *key, found))
        for sentence, of in (("unranked", counts), ("untouched", languages))
        for key, found in of.items()
        if found
    ]


def _mteb_files(evaluated: Evaluated, evaluation: EvaluationSettings) -> Files:
    splits = {chosen.name: chosen.split or "test" for chosen in evaluation.sets}
    return {
        f"mteb/{model}/{name}.json": as_mteb_result(
            load(ref), task=name, revision=evaluated.sets[name].fingerprint,
            split=splits.get(name, "test"), k=evaluation.k,
        )
        for model, of in evaluated.measures.items()
        for name, ref in of.items()
        if note_of(ref, MeasuresNote).kind == "retrieval"
    }  # fmt: skip


def write_folder(
    report: LearningReport, files: Files, output: OutputSettings, kind: str, run: str, flow: str
) -> dict[str, Any]:
    """Write an output folder with its page, show it in the UI, and sum it up."""
    pages: Files = {**files, "report.html": render_learning(report)}
    folder = publish_folder(output, pages, report.model_dump(mode="json"), kind=kind, run=run)
    publish_learning(report, flow, str(folder))
    return sum_up(report, folder)


def sum_up(report: Report, folder: Path) -> dict[str, Any]:
    """Say what the command line shows of a run."""
    timings = [{"stage": t.stage, "seconds": t.seconds} for t in report.timings]
    return {
        "output": str(folder),
        "report": str(folder / "report.html"),
        "headline": report.headline,
        "timings": timings,
        "reused": report.reused,
    }


def show(**parts: BaseModel) -> dict[str, Any]:
    """List settings as a page shows them, by section."""
    return {name: without_passwords(part) for name, part in parts.items()}


def describe_sets(sets: Mapping[str, DatasetRef]) -> tuple[Searched, ...]:
    """Say what the queries of each set of retrieval search."""
    notes = {name: note_of(reference, SetNote) for name, reference in sets.items()}
    return tuple(
        Searched(name, note.documents, note.queries, say("learning", "searched", note.held_out))
        for name, note in notes.items()
        if note.kind == "retrieval"
    )


def sources_of(
    made: Mapping[str, DatasetRef], kind: type[CollectionNote | SetNote | RowsNote]
) -> tuple[Understood, ...]:
    """Say what each file that something was made of was taken for, once."""
    return merged(*(note_of(reference, kind).sources for reference in made.values()))


def merged(*sources: Sequence[Understood]) -> tuple[Understood, ...]:
    """List files that several things were made of once."""
    return tuple(dict.fromkeys(file for each in sources for file in each))


def remark_on_sets(sets: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Say what readers of intervals and means should know of the sets."""
    notes = {name: note_of(reference, SetNote) for name, reference in sets.items()}
    rejected = [
        Note("warning", say("learning", "rejected", name, note.rejected))
        for name, note in notes.items()
        if note.rejected
    ]
    return (
        *rejected,
        *(
            Note("remark", say("learning", said, name, count, note.queries))
            for name, note in notes.items()
            for said, count in (("unanswered", note.unanswered), ("chained", note.chained))
            if count
        ),
    )


def remark_on_plain(evaluated: Evaluated, k: int) -> tuple[Note, ...]:
    """Say where figures depart from plain trec_eval's, and what these are."""
    notes = []
    for name, of in evaluated.plain.items():
        means = [
            (model, load(ref).filter(pl.col("document_language") != POOL)["ndcg"].mean())
            for model, ref in of.items()
        ]
        note = note_of(evaluated.sets[name], SetNote)
        notes.append(Note("remark", say("learning", "departs", name, note, means, k)))
    return tuple(notes)


def remark_on_few(measures: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Name the directions of each set that have too few queries to count in a mean."""
    notes = []
    for name, reference in measures.items():
        if note_of(reference, MeasuresNote).kind != "retrieval":
            continue
        counts = load(reference).group_by("document_language", "query_language").len()
        few = counts.filter(pl.col("len") < FEWEST).sort("document_language", "query_language")
        cells = [f"{document}-{query} ({count})" for document, query, count in few.rows()]
        if cells:
            every = counts.height if few.height == counts.height else 0
            notes.append(Note("warning", say("learning", "few", name, cells, FEWEST, every)))
    return tuple(notes)


def describe_gain(
    comparisons: pl.DataFrame,
    scores: pl.DataFrame,
    differences: pl.DataFrame,
    names: Sequence[str],
    evaluation: EvaluationSettings,
) -> str:
    """Say what the first model gains on the first set; of several, which is best there."""
    if comparisons.height:
        first = comparisons.row(0, named=True)
        best = find_best(differences, first["set"], PRIMARY, evaluation.confidence)
        chosen = best[0] if best else names[0] if names else first["model"]
        gain = write_headline(comparisons, first["set"], chosen, evaluation.k)
        if not best:
            return gain
        verdict = pick_result(comparisons, first["set"], chosen).headline.verdict
        return say("learning", "best_arm", best, gain, verdict)
    gained = scores.filter(pl.col("gain").is_not_null())
    if gained.height:
        row = gained.row(0, named=True)
        return f"{row['metric']} on {row['set']}: {row['value']:.3f}, {row['gain']:+.3f}"
    return "nothing was measured"


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


def _parquet(table: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    table.write_parquet(written)
    return written.getvalue()


def _closed(info: Mapping[str, AdapterNote]) -> tuple[Note, ...]:
    """Say how many pairs of a batch were no negatives."""
    return tuple(
        Note("remark", say("learning", "closed", name, note.closed))
        for name, note in info.items()
        if note.closed
    )


def _row_counts(step: StepSettings, note: AdapterNote) -> tuple[RowCount, ...]:
    counts = []
    for name, rows in note.rows.items():
        source, document, query = name.split(" | ")[:3]
        part = step.data[int(source.removeprefix("data-"))]
        counts.append(RowCount(describe_source(part), document, query, rows))
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
    leaks = (
        Leak(found.set, f"{found.source}, {found.side}", found.text, found.kind)
        for note in notes
        for found in note.overlaps
    )
    return Contamination(
        sum(reference.rows for reference in rows.values()),
        sum(note.equal for note in notes),
        sum(note.near for note in notes),
        sum(note.removed for note in notes),
        tuple(leaks),
        tuple({name: level for note in notes for name, level in note.levels.items()}.items()),
    )


def list_timings(stages: Mapping[str, DatasetRef]) -> tuple[Timing, ...]:
    """Say of each stage, by its name, how long it took and what it made."""
    return tuple(Timing(n, round(r.seconds, 3), r.rows, r.reused) for n, r in stages.items())
