"""Gathers what a step learns from, and keeps evaluation texts out of it."""

import logging
from collections.abc import Mapping
from functools import cache, partial

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import TrainingRows
from polymine.data_contracts.notes import Overlap, RowsNote, SourceCounts, Understood
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import StepSettings, TrainingSettings
from polymine.evaluation.contamination import exclude
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Content, Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.store.datasets import Dataset, load, note_of
from polymine.tasks.training.contamination import SHOWN, describe_overlap, overlap_with
from polymine.tasks.training.data import fingerprint_part, kind_and_choice, read_part
from polymine.tasks.training.development import DEVELOPMENT
from polymine.tasks.training.split import HELD_OUT
from polymine.training import mixture
from polymine.training.relations import relate

VERSION = 9
CONTRACT = "training-rows"
EXCLUDE = (
    'Set training.contaminated = "exclude" to leave these rows out, or "report" to train on them; '
    "`guard` of a set says how much of it training must not hold."
)
_BROKEN = "rows that broke a rule"
Noted = tuple[pl.DataFrame, RowsNote]
logger = logging.getLogger("polymine.training")


@stage("gather", "gather-{step.name}")
def gather_rows(run: Context, step: StepSettings) -> Plan:
    """Read a step's data into training rows; whatever is left out is counted by its reason."""
    gathered = cache(lambda: _gather(step))
    return Plan(
        contract=CONTRACT,
        depends={
            "version": VERSION,
            "data": [[fingerprint_part(part), *kind_and_choice(part)] for part in step.data],
            "negatives": step.loss.negatives,
            "target": step.loss.target,
            "seed": step.seed,
        },
        open=lambda _: Maker(lambda *_: gathered()[0], TrainingRows),
        reads=True,
        note=lambda _: gathered()[1],
    )


@stage("guard", "guard-{step.name}")
def guard_rows(
    run: Context,
    step: StepSettings,
    rows: DatasetRef,
    sets: Mapping[str, DatasetRef],
    training: TrainingSettings,
) -> Plan:
    """Refuse, leave out or report training rows with a text that an evaluation set holds.

    What is near to what a pipeline itself holds out is always left out: the split keeps near-copies
    together as far as it finds them, and nobody could choose other data.
    """
    guarded = cache(lambda: _guard(step, rows, sets, training))
    return Plan(
        contract=CONTRACT,
        depends={
            "version": VERSION,
            "rows": rows,
            "sets": dict(sets),
            "exclude": training.contaminated,
        },
        open=lambda _: Maker(lambda *_: guarded()[0], TrainingRows),
        reads=True,
        note=lambda _: guarded()[1],
    )


def check_rows(step: StepSettings, rows: DatasetRef) -> None:
    """Refuse rows the step cannot train on, before any step of the run trains."""
    from polymine.training.batches import check_parts, split_rows

    frame = load(rows, repeated=True)
    parts = split_rows(frame, mixed=step.schedule.mixed_languages)
    check_parts(parts, step)
    if step.schedule.language_temperature != 1:
        _tell_passes(step, parts)
    doubted = int((frame["positive_weight"] < 1).sum())
    if doubted and step.loss.kind in ("align", "mse"):
        logger.warning(
            "%s: loss `%s` knows no weights: %s rows whose positive may be wrong count in full",
            step.name, step.loss.kind, f"{doubted:,}",
        )  # fmt: skip


def _tell_passes(step: StepSettings, parts: Mapping[str, pl.DataFrame]) -> None:
    """Say how often rows will be read where some languages are read more often than others."""
    from polymine.training.batches import count_passes, count_steps, share_parts

    rows = {name: len(part) for name, part in parts.items()}
    steps = count_steps(parts, step)
    read = count_passes(rows, share_parts(parts, step), steps, step.schedule.batch)
    logger.info(
        "%s: at a language temperature of %g each row is read about so many times: %s",
        step.name, step.schedule.language_temperature,
        ", ".join(f"{passes:.1f} of {name} ({rows[name]:,})" for name, passes in read.items()),
    )  # fmt: skip


def _gather(step: StepSettings) -> Noted:
    rows, counts, sources = [], list[SourceCounts](), list[Understood]()
    for number, part in enumerate(step.data):
        name = f"data-{number}"
        read = read_part(part, name, step.loss)
        least = part.min_positive_weight
        assert not isinstance(least, str), "each trial says a number"
        chosen = mixture.select(read.made.rows, part.languages, part.limit, step.seed, least)
        counted = read.made.counts.then(chosen.counts).and_dropped(_BROKEN, read.rejected)
        rows.append(relate(chosen.rows, read.relations))
        sources += read.sources
        counts.append(SourceCounts(name, counted.rows, counted.merged, dict(counted.dropped)))
        merged = {"merged into equal pairs": counted.merged} if counted.merged else {}
        for reason, count in {**merged, **counted.dropped}.items():
            logger.info("%s, %s: %s rows left out: %s", step.name, name, f"{count:,}", reason)
    return pl.concat(rows, rechunk=True), RowsNote(counts=tuple(counts), sources=tuple(sources))


def _guard(
    step: StepSettings,
    rows: DatasetRef,
    sets: Mapping[str, DatasetRef],
    training: TrainingSettings,
) -> tuple[Content, RowsNote]:
    frame = load(rows, repeated=True)
    overlap, levels = overlap_with(sets, frame)
    given = overlap.filter(~pl.col("set").is_in([HELD_OUT, DEVELOPMENT]))
    if training.contaminated == "fail" and given.height:
        raise InputError(describe_overlap(f"step {step.name}: training data holds", given, EXCLUDE))
    reported = given if training.contaminated == "report" else given.clear()
    kept, removed = exclude(frame, overlap.join(reported, on=overlap.columns, how="anti"))
    if removed:
        logger.warning(
            "%s: %s rows left out, whose texts evaluation sets hold", step.name, f"{removed:,}"
        )
    if kept.is_empty() and frame.height:
        raise InputError(
            f"step {step.name}: all {frame.height:,} rows hold texts of evaluation sets, so that "
            "nothing is left to train on; choose other data, or a lower `guard` of these sets"
        )
    found = {
        "checked": tuple(levels),
        "unchecked": tuple(name for name in sets if name not in levels),
        "levels": levels,
        "sets": tuple(
            sorted(ref.fingerprint for name, ref in sets.items() if name not in reported["set"])
        ),
        "removed": removed,
        "overlaps": tuple(Overlap(**row) for row in overlap.head(SHOWN).to_dicts()),
        **dict(overlap.group_by("kind").len().rows()),
    }
    note = note_of(rows, RowsNote).model_copy(update=found)
    return kept if removed else partial(Dataset.take_over, reference=rows), note
