"""The development part: cut from a collection or named, drawn, kept apart, and counted.

It is a set of retrieval like any other. What is looked at during training is a draw of it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    HELD_OUT,
    DatasetSettings,
    EvaluationSettings,
    TrainingSettings,
)
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.contamination import at_levels, find_overlap, texts_of
from polymine.mining.split import OVERSHOOT
from polymine.reporting.formatting import count_of
from polymine.reporting.report import Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Plan
from polymine.tasks.engine.stage import named_work, stage
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.evaluation.sets import (
    COLLECTION,
    is_checked,
    open_collection,
    plan_set,
    texts_of_set,
)
from polymine.tasks.store.datasets import load, note_of
from polymine.tasks.training.split import as_set, hold_out_set, training_side
from polymine.training.mixture import from_collection

VERSION = 2
DEVELOPMENT = "development part"  # what a pipeline's own is called; no set can have this name
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class Development:
    """A development part.

    Args:
        name: what it is called where it stands among sets.
        whole: all of it, which training rows are kept apart from.
        drawn: what is asked while training.
        of_documents: of how many documents those of `drawn` are a sample.
    """

    name: str
    whole: DatasetRef
    drawn: DatasetRef
    of_documents: int


def cut_development(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> tuple[TrainingSettings, CollectionRef, tuple[Note, ...]]:
    """Keep a development part from mining and training, as the test part was.

    Args:
        run: of the stages.
        collection: without the test part.
        dataset, evaluation: say how texts belong together, and which share is kept.
        training: whose development part it becomes, unless it names one.

    Returns:
        The settings of training with the part, the collection without it, and a remark where there
        is none as it would have too few questions.

    Raises:
        SettingsError: there is none, and `strict` needs one.
    """
    own, share = training.development, evaluation.development
    if own.set is not None or not share:
        return training, collection, ()
    cut = evaluation.model_copy(update={"held_out": share, "pool": "whole"})
    found = int(OVERSHOOT * share * _questions(collection))
    if found >= own.fewest:
        with named_work("development"):
            try:
                held = hold_out_set(run, collection, dataset, cut, own.documents)
            except InputError as error:
                logger.warning("no development part: %s", error)
                found = 0
            else:
                chosen = as_set("development", held)
                whole = read_set(run, chosen, evaluation.seed)
                found = open_collection(whole).answered
        if found >= own.fewest:
            with named_work("development"):
                left = training_side(run, collection, dataset, cut)
            used = own.model_copy(update={"set": chosen})
            return training.model_copy(update={"development": used}), left, ()
    remark = say("learning", "no_development", found, own.fewest, share)
    if own.strict:
        raise SettingsError(f"training.development.strict: {remark}")
    logger.warning("%s", remark)
    return training, collection, (Note("remark", remark),)


def read_development(
    run: Context,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    sets: Mapping[str, DatasetRef],
) -> Development | None:
    """Read the development part that the settings name, and check it, before anything trains.

    Args:
        run: of the stages.
        training: names it.
        evaluation: its seed draws.
        sets: what will be measured on, which must not hold its queries.

    Returns:
        The part; None where none is named.

    Raises:
        SettingsError: it is no set of retrieval, has too few questions, has a name that a set has,
            or is not there and `strict` needs it.
        InputError: its queries are those of a set, and `training.contaminated` is `fail`.
    """
    own = training.development
    if own.set is None:
        if own.strict:
            raise SettingsError(
                "training.development.strict: there is no development part to hold the model "
                "against; name one as `training.development.set`, or set `strict = false`"
            )
        return None
    where = f"training.development.set `{own.set.name}`"
    whole = read_set(run, own.set, evaluation.seed)
    note = note_of(whole, SetNote)
    if note.kind != "retrieval":
        raise SettingsError(
            f"{where}: is a set of {note.kind}; choosing takes queries with what is relevant"
        )
    name = own.set.name if note.held_out is None else DEVELOPMENT
    if name in sets:
        raise SettingsError(f"{where}: a set of `evaluation.sets` has this name; give it another")
    drawn = draw_development(run, whole, sets, training, evaluation)
    count = open_collection(drawn).answered
    if count < own.fewest and note.held_out is None:  # what is cut was counted when it was cut
        raise SettingsError(
            f"{where}: has {count_of(count, 'question')} with a relevant document that no "
            f"evaluation set asks, and fewer than {own.fewest} are too few to choose by; name a "
            "larger one, leave it out, or lower `training.development.fewest`"
        )
    documents = note.documents if note.held_out is None else note.held_out.documents
    development = Development(name, whole, drawn, documents)
    for said in remark_on_shared(development):
        logger.warning("%s", said.text)
    return development


def remark_on_shared(development: Development | None) -> tuple[Note, ...]:
    """Say which queries of a development part an evaluation set asks, too."""
    note = SetNote(kind="", name="") if development is None else note_of(development.drawn, SetNote)
    left, kept = note.left_out, note.shared
    return (
        *([Note("remark", say("learning", "shared", note.name, left, "left out"))] if left else []),
        *([Note("warning", say("learning", "shared", note.name, kept, "kept"))] if kept else []),
    )


def read_named(
    run: Context, training: TrainingSettings, evaluation: EvaluationSettings
) -> dict[str, DatasetRef]:
    """Read the development part that the settings name, as a set by its name; {} for none."""
    own = training.development.set
    return {} if own is None else {own.name: read_set(run, own, evaluation.seed)}


@stage("draw-development")
def draw_development(
    run: Context,
    whole: DatasetRef,
    sets: Mapping[str, DatasetRef],
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> Plan:
    """Draw what is asked and searched during training, without what evaluation sets ask."""
    own, seed, note = training.development, evaluation.seed, note_of(whole, SetNote)

    def draw() -> tuple[SetNote, dict[str, pl.DataFrame]]:
        found = open_collection(whole)
        each = -(-own.queries // max(1, found.queries["language"].n_unique()))
        asked = found.draw(max(each, own.fewest), seed)
        left, shared = _apart(asked, sets, training, note)
        thinned = left.thin(own.documents, seed)
        counts = {
            "documents": thinned.documents.height,
            "queries": left.queries.height,
            "left_out": asked.queries.height - left.queries.height,
            "shared": shared,
        }
        tables = {name: getattr(thinned, name) for name in COLLECTION}
        return note.model_copy(update=counts), tables

    depends = {
        "version": VERSION,
        "set": whole,
        "sets": dict(sets),
        "contaminated": training.contaminated,
        "most": [own.queries, own.documents, own.fewest],
        "seed": seed,
    }
    return plan_set(depends, draw)


def _apart(
    asked: EvaluationCollection,
    sets: Mapping[str, DatasetRef],
    training: TrainingSettings,
    note: SetNote,
) -> tuple[EvaluationCollection, int]:
    """Refuse, leave out or report queries that a set asks as well, as the guard does with rows.

    What a pipeline has cut itself is always left out where it lies near its own test part. Returns
    what is left, and how many of its queries a set asks.
    """
    checked = {name: reference for name, reference in sets.items() if is_checked(reference)}
    if not checked or not asked.relevant.height:
        return asked, 0
    texts = [
        texts_of_set(reference, "queries").with_columns(set=pl.lit(name))
        for name, reference in checked.items()
    ]
    rows = from_collection(asked.documents, asked.queries, asked.judgments, "development").rows
    overlap = at_levels(
        find_overlap(texts_of(rows), pl.concat(texts)), dict.fromkeys(checked, "queries")
    ).filter(side="anchor")
    overlap = overlap.filter(pl.col("part") != "document")
    own = pl.col("set") == HELD_OUT if note.held_out is not None else pl.lit(False)
    seen = rows.join(overlap, on=["source", "row"], maintain_order="left")
    seen = seen.select("set", own=own, text="anchor")
    if training.contaminated == "fail" and (given := seen.filter(~pl.col("own"))).height:
        asking = ", ".join(given["set"].unique().sort())
        raise InputError(
            f"training.development.set `{note.name}`: {given['text'].n_unique():,} of its "
            f"{asked.queries.height:,} queries are also asked by {asking}, as "
            f"{given['text'][0]!r:.100}. What chose the model cannot measure it: name another "
            'set, or set training.contaminated = "exclude" to leave these queries out, or "report" '
            "to choose by them nevertheless"
        )
    gone = seen.filter("own") if training.contaminated == "report" else seen
    left = asked.queries.filter(~pl.col("text").is_in(gone["text"].implode()))
    shared = left.filter(pl.col("text").is_in(seen["text"].implode())).height
    return asked.ask(left), shared


def _questions(collection: CollectionRef) -> int:
    """Count what is asked and answered, translations once."""
    known = load(collection.judgments).filter(pl.col("relevance") > 0).select("query_id").unique()
    asked = load(collection.queries).join(known, on="query_id", how="semi")
    group = pl.col("group_id") if "group_id" in asked.columns else pl.lit(None, pl.String)
    count: int = asked.select(pl.coalesce(group, pl.col("query_id")).n_unique()).item()
    return count
