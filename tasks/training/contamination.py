"""What evaluation sets and training data have in common, looked for from either side.

Training looks before it learns; an evaluation looks again for models that others trained, as far
as their rows are in this store.
"""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import Overlaps
from polymine.data_contracts.notes import RowsNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSettings
from polymine.evaluation.contamination import find_overlap, texts_of
from polymine.reporting.formatting import count_of
from polymine.reporting.report import Note
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import Measured
from polymine.tasks.evaluation.sets import texts_of_set
from polymine.tasks.store.datasets import load, note_of

VERSION = 2
SHOWN = 10  # overlaps that an error lists
ROWS = "training-rows"
REPORT = (
    'Set evaluation.contaminated = "report" to measure nevertheless, or train again with these '
    "sets named in `evaluation.sets`, which keeps them out."
)
logger = logging.getLogger("polymine.evaluation")


def overlap_with(sets: Mapping[str, DatasetRef], rows: pl.DataFrame) -> pl.DataFrame:
    """List the texts of training rows that sets hold, as `find_overlap` does."""
    texts = [
        texts_of_set(reference).with_columns(set=pl.lit(name)) for name, reference in sets.items()
    ]
    empty = pl.DataFrame(schema={"id": pl.String, "text": pl.String, "set": pl.String})
    return find_overlap(texts_of(rows), pl.concat([empty, *texts]))


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


def look_for_seen(
    run: Context,
    candidates: Sequence[Measured],
    sets: Mapping[str, DatasetRef],
    evaluation: EvaluationSettings,
) -> tuple[Note, ...]:
    """Look whether sets hold what trained models have learned from.

    Returns remarks for the report. Raises InputError with the list where they do, unless the
    settings ask for a report only.
    """
    notes: list[Note] = []
    for measured in candidates:
        if measured.trained is None:
            continue
        for step, version in measured.trained.rows.items():
            rows = run.store.dataset(ROWS, version).find()
            if rows is None:
                notes.append(_unknown(measured, step))
                continue
            compared = note_of(rows, RowsNote).sets
            new = {name: ref for name, ref in sets.items() if ref.fingerprint not in compared}
            if new:
                notes += _judge(measured, step, compare_texts(run, rows, new), evaluation)
    return tuple(notes)


@stage("look-for-seen")
def compare_texts(run: Context, rows: DatasetRef, sets: Mapping[str, DatasetRef]) -> Plan:
    """Compare training rows with sets that training did not know of."""
    return Plan(
        contract="overlaps",
        depends={"version": VERSION, "rows": rows, "sets": dict(sets)},
        open=lambda _: Maker(lambda *_: overlap_with(sets, load(rows)), Overlaps),
    )


def _judge(
    measured: Measured, step: str, compared: DatasetRef, evaluation: EvaluationSettings
) -> list[Note]:
    if not compared.rows:
        return []
    overlap = load(compared)
    what = f"{measured.name}: step {step} was trained on"
    if evaluation.contaminated == "fail":
        raise InputError(describe_overlap(what, overlap, REPORT))
    for name, part in sorted(overlap.group_by("set")):
        logger.warning("%s %s of %s", what, count_of(part.height, "text"), name[0])
    counted = ", ".join(
        f"{name} {texts:,}" for name, texts in overlap.group_by("set").len().sort("set").rows()
    )
    return [Note("warning", f"{what} texts of these sets, so its figures there are not true: "
                 f"{counted}")]  # fmt: skip


def _unknown(measured: Measured, step: str) -> Note:
    return Note(
        "remark",
        f"{measured.name}: the rows of step {step} are not in this store, so nobody looked whether "
        "the sets hold their texts",
    )
