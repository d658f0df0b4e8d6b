"""Gathers the evidence on every candidate."""

from dataclasses import dataclass

import dataframely as dy
import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, MiningSettings
from polymine.data_contracts.tables import evidence_schema, positives_schema
from polymine.mining.evidence import gather_evidence
from polymine.mining.evidence import score_positives as score_known
from polymine.mining.selection import compute_ceilings
from polymine.progress import Progress
from polymine.tasks.engine.shards import Content, Make, Order, ShardWork, cut, run_shards
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.ranking import from_frame
from polymine.tasks.mining.teachers import Inputs, Opened
from polymine.tasks.store.datasets import Store, load, shard_paths

VERSION = 7


@stage("positives", "score-positives")
def score_positives(
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Score the known positives with every teacher."""
    names = tuple(teacher.name for teacher in mining.teachers)
    dataset = Store(root).dataset("positives", _version(collection, inputs, names=names))
    if found := dataset.find():
        return found
    opened = Opened(collection, mining, inputs, engine)
    frame = score_known(opened.teachers(mining.teachers), opened.known, opened.ids)
    return dataset.write_single(frame, positives_schema(names))


@stage("evidence")
def evidence(
    collection: CollectionRef,
    rankings: list[DatasetRef],
    mining: MiningSettings,
    inputs: Inputs,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Let every teacher score the union of the candidates."""
    version = _version(
        collection,
        inputs,
        names=schema_of(mining).column_names(),
        rankings=[ref.fingerprint for ref in rankings],
    )
    work = EvidenceWork(
        stage="evidence",
        unit="queries",
        root=root,
        contract="evidence",
        fingerprint=version,
        engine=engine,
        collection=collection,
        rankings=tuple(rankings),
        mining=mining,
        inputs=inputs,
    )
    dataset = work.dataset()
    if found := dataset.find():
        return found
    shards = run_shards(work, cut(collection.queries.rows, engine.shard_queries))
    return dataset.commit(expected=shards)


@dataclass(frozen=True, kw_only=True)
class EvidenceWork(ShardWork):
    """What the evidence is made from: a shard of every ranking each."""

    collection: CollectionRef
    rankings: tuple[DatasetRef, ...]
    mining: MiningSettings
    inputs: Inputs

    def open(self) -> Make:
        """Open all teachers over the whole corpus."""
        opened = Opened(self.collection, self.mining, self.inputs, self.engine)
        teachers = opened.teachers(self.mining.teachers)
        shards = list(zip(opened.shards(), *map(shard_paths, self.rankings), strict=True))

        def make(number: int, order: Order, progress: Progress) -> Content:
            rows, *paths = shards[number]
            ranked = [from_frame(pl.read_parquet(path, glob=False), opened.ids) for path in paths]
            frame = gather_evidence(teachers, ranked, opened.known.of(rows), opened.ids)
            progress.advance(self.stage, len(rows))
            return frame, schema_of(self.mining)

        return make


def schema_of(mining: MiningSettings) -> type[dy.Schema]:
    """Schema of the evidence that these teachers bring."""
    names = tuple(teacher.name for teacher in mining.teachers)
    dense = tuple(teacher.name for teacher in mining.teachers if teacher.kind == "dense")
    return evidence_schema(names, dense)


def load_ceilings(positives: DatasetRef, mining: MiningSettings) -> pl.DataFrame:
    """Read the positives and compute each query's ceiling under the rule."""
    scores = load(positives).select("query_id", score=score_column(mining))
    return compute_ceilings(scores, mining.selection)


def score_column(mining: MiningSettings) -> str:
    """Name the column of the primary teacher's scores."""
    return f"score_{mining.primary_teacher}"


def _version(collection: CollectionRef, inputs: Inputs, **parts: object) -> str:
    return fingerprint(
        version=VERSION,
        collection=collection.fingerprint,
        labels=collection.labels.fingerprint,
        inputs={key: reference.fingerprint for key, reference in inputs.items()},
        **parts,
    )


def scan_evidence(base: DatasetRef, deep: DatasetRef) -> list[pl.LazyFrame]:
    """Pair the shards of both searches: one lazy frame per block of queries."""
    pairs = zip(shard_paths(base), shard_paths(deep), strict=True)
    return [pl.scan_parquet([left, right], glob=False) for left, right in pairs]
