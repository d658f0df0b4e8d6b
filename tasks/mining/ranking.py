"""Ranks the candidates of every query with one teacher, shard by shard."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, MiningSettings, TeacherSettings
from polymine.data_contracts.tables import Rankings
from polymine.mining.known import Ids
from polymine.mining.ranking import Ranked
from polymine.mining.ranking import rank as rank_queries
from polymine.progress import Progress
from polymine.tasks.engine.shards import Content, Make, Order, ShardWork, cut, run_shards
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.incremental_ranking import describe_ranking, find_earlier
from polymine.tasks.mining.teachers import Inputs, Opened
from polymine.tasks.store.datasets import Store

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
    work = RankWork(
        stage=f"rank {teacher.name}",
        unit="queries",
        root=root,
        contract="rankings",
        fingerprint=version,
        engine=engine,
        teacher=teacher,
        collection=collection,
        mining=mining,
        inputs=inputs,
    )
    dataset = work.dataset()
    if found := dataset.find():
        return found
    shards = run_shards(work, cut(collection.queries.rows, engine.shard_queries))
    described = describe_ranking(VERSION, teacher, collection, mining, inputs)
    source = {"documents": collection.documents.fingerprint}
    return dataset.commit(source, described, expected=shards)


@dataclass(frozen=True, kw_only=True)
class RankWork(ShardWork):
    """What rankings are made from: a block of queries a shard."""

    teacher: TeacherSettings
    collection: CollectionRef
    mining: MiningSettings
    inputs: Inputs

    def open(self) -> Make:
        """Open the teacher over the whole corpus."""
        opened = Opened(self.collection, self.mining, self.inputs, self.engine)
        model, shards = opened.teacher(self.teacher), opened.shards()
        described = describe_ranking(
            VERSION, self.teacher, self.collection, self.mining, self.inputs
        )
        earlier = find_earlier(Store(self.root), described, opened, model)
        rank_rows = earlier.rank if earlier else partial(rank_queries, model)

        def make(number: int, order: Order, progress: Progress) -> Content:
            parts = []
            for start in range(0, len(shards[number]), STEP):
                rows = shards[number][start : start + STEP]
                parts.append(rank_rows(rows, self.mining.depth))
                progress.advance(self.stage, len(rows))
            frames = [to_frame(part, opened.ids, self.teacher.name) for part in parts]
            return pl.concat(frames), Rankings

        return make


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
