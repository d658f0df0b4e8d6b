"""Ranks the candidates of every query with one teacher, block by block of queries."""

from functools import partial

import numpy as np
import polars as pl

from polymine.data_contracts.references import CollectionRef
from polymine.data_contracts.settings import MiningSettings, TeacherSettings
from polymine.data_contracts.tables import Rankings
from polymine.mining.known import Ids
from polymine.mining.ranking import Ranked
from polymine.mining.ranking import rank as rank_queries
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.incremental_ranking import find_previous, note_ranking
from polymine.tasks.mining.teachers import Inputs, Opened, blocks_of, inputs_of

VERSION = 2
STEP = 4096  # queries between two signs of progress


@stage("rank", "rank-{teacher.name}")
def rank(
    run: Context,
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
) -> Plan:
    """Find the exact best candidates of every query."""
    parts = (teacher, collection, mining, inputs)
    return Plan(
        contract="rankings",
        depends={
            "version": VERSION,
            "documents": collection.documents,
            "queries": collection.queries,
            "inputs": list(inputs_of(inputs, teacher).values()),
            "depth": mining.depth,
            "languages": mining.languages,
            "shard": run.engine.shard_queries,
        },
        blocks=blocks_of(collection, run.engine),
        unit="queries",
        each=collection.documents.rows,
        label=f"rank {teacher.name}",
        open=partial(_open, *parts),
        note=lambda _: note_ranking(VERSION, *parts),
        spread=True,
    )


def _open(
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
    run: Context,
) -> Maker:
    """Open the teacher over the whole corpus."""
    opened = Opened(collection, mining, inputs, run.engine)
    model, blocks = opened.teacher(teacher), opened.blocks()
    noted = note_ranking(VERSION, teacher, collection, mining, inputs)
    previous = find_previous(run.store, noted, opened, model)
    rank_rows = previous.rank if previous else partial(rank_queries, model)

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        frames, rows = [], blocks[number]
        for start in range(0, len(rows), STEP):
            ranked = rank_rows(rows[start : start + STEP], mining.depth)
            frames.append(to_frame(ranked, opened.ids, teacher.name))
            progress.advance("rank", len(rows[start : start + STEP]))
        return pl.concat(frames)

    return Maker(make, Rankings)


def to_frame(ranked: Ranked, ids: Ids, teacher: str) -> pl.DataFrame:
    """Put ids to a ranking (contract Rankings)."""
    return pl.DataFrame(
        {
            "query_id": ids.queries.gather(ranked.queries),
            "doc_id": ids.documents.gather(ranked.documents),
            "rank": ranked.ranks,
            "score": ranked.scores,
        }
    ).with_columns(teacher=pl.lit(teacher))


def from_frame(frame: pl.DataFrame, ids: Ids) -> Ranked:
    """Take the ids off again."""
    return Ranked(
        ids.queries.search_sorted(frame["query_id"]).to_numpy().astype(np.int64),
        ids.documents.search_sorted(frame["doc_id"]).to_numpy().astype(np.int64),
        frame["rank"].to_numpy(),
        frame["score"].to_numpy(),
    )
