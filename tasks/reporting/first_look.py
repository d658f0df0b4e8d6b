"""The first look: a page of what the teacher that is ready first ranks, while the rest runs."""

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from polymine.data_contracts.notes import CollectionNote
from polymine.data_contracts.references import CollectionRef
from polymine.data_contracts.settings import MiningSettings, TeacherSettings
from polymine.mining.ranking import rank
from polymine.reporting.mining.first_look import (
    DEPTH,
    choose_queries,
    compose,
    known_positives,
    render_look,
    summarise_look,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.ranking import to_frame
from polymine.tasks.mining.teachers import Inputs, Opened
from polymine.tasks.monitoring.artifacts import markdown, publish
from polymine.tasks.store.datasets import Dataset, load, note_of

VERSION = 2
PAGE = "first-look.html"

logger = logging.getLogger("polymine.first_look")


@stage("first-look")
def first_look(
    run: Context,
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
) -> Plan:
    """Show what one teacher ranks for some queries: in the store, in the UI, and in the log.

    It is a dataset of its own and no part of the run's folder, which is there once all is done.
    """
    names = [teacher.name, *(each.name for each in mining.teachers if each != teacher)]
    parts = (names, teacher, collection, mining, inputs)
    return Plan(
        contract="first-look",
        depends={
            "version": VERSION,
            "documents": collection.documents,
            "queries": collection.queries,
            "closure": collection.closure,
            "inputs": list(inputs.values()),
            "languages": mining.languages,
            "teachers": names,
        },
        open=lambda run: Maker(lambda *_: partial(_write, run, *parts)),
        resumable=False,
    )


def _write(
    run: Context,
    names: Sequence[str],
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
    dataset: Dataset,
) -> None:
    """Rank a few queries and write the page."""
    opened = Opened(collection, mining, inputs, run.engine)
    documents, closure = opened.documents[opened.candidates()], load(collection.closure)
    queries = choose_queries(opened.queries, known_positives(closure, documents))
    rows = opened.ids.queries.search_sorted(queries["query_id"]).to_numpy().astype(np.int64)
    rankings = to_frame(rank(opened.teacher(teacher), rows, DEPTH), opened.ids, teacher.name)
    sources = note_of(collection.documents, CollectionNote).sources
    look = compose(rankings, queries, documents, closure, names, sources)
    with dataset.staging() as folder:
        (folder / PAGE).write_text(render_look(look), encoding="utf-8")
    page = str(dataset.folder / PAGE)
    publish([markdown("mine-first-look", summarise_look(look, page), look.headline)])
    logger.info("%s; nothing is decided yet: %s", look.headline, page)
