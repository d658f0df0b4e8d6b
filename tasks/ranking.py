"""Ranks the candidates of every query with one teacher, shard by shard."""

from functools import partial

import numpy as np
import polars as pl

from data_contracts.references import CollectionRef, DatasetRef, fingerprint
from data_contracts.settings import EngineSettings, MiningSettings, TeacherSettings
from data_contracts.tables import Rankings
from polymine.mining.known import Ids
from polymine.mining.ranking import Ranked
from polymine.mining.ranking import rank as rank_queries
from tasks.earlier import describe_ranking, find_earlier
from tasks.progress import TaskProgress
from tasks.stages import stage
from tasks.store import Store, shard_name
from tasks.teachers import Inputs, Opened

VERSION = 1
STEP = 4096  # queries between two signs of progress


@stage("rank", "rank-{teacher.name}")
def rank(
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Find the exact best candidates of every query."""
    version = fingerprint(
        version=VERSION,
        collection=[collection.documents.fingerprint, collection.queries.fingerprint],
        inputs=[
            ref.fingerprint for key, ref in inputs.items() if key.startswith(teacher.name + "/")
        ],
        depth=mining.depth,
        languages=mining.languages,
        shard=engine.shard_queries,
    )
    dataset = Store(root).dataset("rankings", version)
    if found := dataset.find():
        return found
    opened = Opened(collection, mining, inputs, engine)
    model, progress, name = opened.teacher(teacher), TaskProgress(), f"rank {teacher.name}"
    described = describe_ranking(teacher, collection, mining, inputs)
    earlier = find_earlier(Store(root), described, opened, model)
    rank_rows = earlier.rank if earlier else partial(rank_queries, model)
    progress.start(name, len(opened.ids.queries), "queries")
    for number, rows in enumerate(opened.shards()):
        if not dataset.has(shard_name(number)):
            parts = []
            for start in range(0, len(rows), STEP):
                parts.append(rank_rows(rows[start : start + STEP], mining.depth))
                progress.advance(name, len(rows[start : start + STEP]))
            frame = pl.concat([to_frame(part, opened.ids, teacher.name) for part in parts])
            dataset.write(shard_name(number), frame, Rankings)
    progress.finish(name)
    return dataset.commit({"documents": collection.documents.fingerprint}, described)


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
