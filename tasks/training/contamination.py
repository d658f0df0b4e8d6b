"""What evaluation sets and training data have in common, looked for from either side.

Training looks before it learns; an evaluation looks again for models that others trained, as far
as their rows are in this store.
"""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.learning import Overlaps
from polymine.data_contracts.notes import RowsNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSettings, TrainingSettings
from polymine.evaluation.contamination import Level, at_levels, find_overlap, texts_of
from polymine.reporting.formatting import count_of
from polymine.reporting.report import Note
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import Measured
from polymine.tasks.evaluation.leaving_out import leave_out
from polymine.tasks.evaluation.sets import is_checked, level_for, texts_of_set
from polymine.tasks.store.datasets import load, note_of

VERSION = 6
SHOWN = 10  # overlaps that an error lists
ROWS = "training-rows"
REPORT = (
    'Set evaluation.contaminated = "exclude" to leave these queries out, or "report" to measure '
    "nevertheless; or train again with these sets named in `evaluation.sets`, which keeps them out."
)
logger = logging.getLogger("polymine.evaluation")


def overlap_with(
    sets: Mapping[str, DatasetRef], rows: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, Level]]:
    """List the texts of training rows that sets hold, as `find_overlap` does.

    Returns:
        The overlap, and the level of each set that was compared (see `level_for`).
    """
    checked = {name: reference for name, reference in sets.items() if is_checked(reference)}
    positives = rows["positive"].unique()
    levels = {name: level_for(reference, positives) for name, reference in checked.items()}
    texts = [
        texts_of_set(reference, levels[name]).with_columns(set=pl.lit(name))
        for name, reference in checked.items()
    ]
    empty = pl.DataFrame(schema=dict.fromkeys(("id", "text", "part", "set"), pl.String))
    overlap = find_overlap(texts_of(rows), pl.concat([empty, *texts]))
    return at_levels(overlap, levels), levels


def describe_overlap(what: str, overlap: pl.DataFrame, advice: str) -> str:
    """Say which texts of which sets `what` holds, and what to do."""
    counts = overlap.group_by("set").agg(texts=pl.len(), rows=pl.struct("source", "row").n_unique())
    lines = [
        f"  {name}: {texts:,} training texts in {rows:,} rows"
        for name, texts, rows in counts.sort("set").rows()
    ]
    examples = [
        f"  {row['set']} {row['id']} ({row['kind']}, as {row['side']}): {row['text']!r:.100}"
        for row in overlap.head(SHOWN).to_dicts()
    ]
    heading = f"{what} texts of evaluation sets, so their figures would not be true:"
    return "\n".join([heading, *lines, *examples, advice])


def check_contaminated(training: TrainingSettings, evaluation: EvaluationSettings) -> None:
    """Refuse a pipeline that would train on texts of evaluation sets and then not measure them."""
    if training.contaminated == "report" and evaluation.contaminated == "fail":
        raise SettingsError(
            'training.contaminated = "report" trains on texts that evaluation sets hold, and '
            'evaluation.contaminated = "fail" refuses to measure on them afterwards: set '
            'evaluation.contaminated = "report" or "exclude", or training.contaminated = "exclude"'
        )


def look_for_seen(
    run: Context,
    candidates: Sequence[Measured],
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> tuple[dict[str, DatasetRef], tuple[Note, ...]]:
    """Look whether sets hold what trained models have learned from.

    Returns:
        The sets, without what was seen if the settings exclude it, and remarks for the report.

    Raises:
        InputError: with the list, where sets hold such texts, unless the settings exclude or
            report them; or if nothing of a set is left.
    """
    notes: list[Note] = []
    seen: list[DatasetRef] = []
    for measured in candidates:
        if measured.trained is None:
            continue
        for step, version in measured.trained.rows.items():
            rows = _held(run, version)
            if rows is None:
                notes.append(_unknown(measured, step))
                continue
            compared = note_of(rows, RowsNote).sets
            new = {name: ref for name, ref in sets.items() if ref.fingerprint not in compared}
            if new and (overlap := compare_texts(run, rows, new)).rows:
                seen.append(overlap)
                notes.append(_judge(measured, step, load(overlap), evaluation))
    if evaluation.contaminated != "exclude" or not seen:
        return dict(sets), tuple(notes)
    held = pl.concat(load(each)["set"] for each in seen).unique()
    left = {
        name: leave_out(run, name, ref, seen) if name in held else ref for name, ref in sets.items()
    }
    return left, (*notes, *map(_gone, (left[name] for name in sorted(held))))


def _gone(reference: DatasetRef) -> Note:
    note = note_of(reference, SetNote)
    what = "queries" if note.kind == "retrieval" else "rows"
    return Note("warning", f"{note.name}: {note.left_out:,} {what} left out of all figures")


def _held(run: Context, version: str) -> DatasetRef | None:
    """Find training rows; a plan touches nothing of the store."""
    rows = run.store.dataset(ROWS, version)
    return rows.peek() if run.dry else rows.find()


@stage("look-for-seen")
def compare_texts(run: Context, rows: DatasetRef, sets: Mapping[str, DatasetRef]) -> Plan:
    """Compare training rows with sets that training did not know of."""
    return Plan(
        contract="overlaps",
        depends={"version": VERSION, "rows": rows, "sets": dict(sets)},
        open=lambda _: Maker(lambda *_: _seen(sets, load(rows, repeated=True)), Overlaps),
        reads=True,
    )


def _seen(sets: Mapping[str, DatasetRef], rows: pl.DataFrame) -> pl.DataFrame:
    """List what training has seen; at the level `queries` of them alone, documents being known."""
    overlap, levels = overlap_with(sets, rows)
    by_query = [name for name, level in levels.items() if level == "queries"]
    return overlap.filter(~pl.col("set").is_in(by_query) | (pl.col("part") != "document"))


def _judge(
    measured: Measured, step: str, overlap: pl.DataFrame, evaluation: EvaluationSettings
) -> Note:
    what = f"{measured.name}: step {step} was trained on"
    if evaluation.contaminated == "fail":
        raise InputError(describe_overlap(what, overlap, REPORT))
    for name, part in sorted(overlap.group_by("set")):
        logger.warning("%s %s of %s", what, count_of(part.height, "text"), name[0])
    counted = ", ".join(
        f"{name} {texts:,}" for name, texts in overlap.group_by("set").len().sort("set").rows()
    )
    told = {
        "exclude": "what they belong to is left out for all models",
        "report": "so its figures there are not true",
    }[evaluation.contaminated]
    return Note("warning", f"{what} texts of these sets, {told}: {counted}")


def _unknown(measured: Measured, step: str) -> Note:
    return Note(
        "remark",
        f"{measured.name}: the rows of step {step} are not in this store, so nobody looked whether "
        "the sets hold their texts",
    )
