"""Gathers the evidence on every candidate, and on those found below a ceiling."""

import dataframely as dy
import numpy as np
import polars as pl

from data_contracts.references import CollectionRef, DatasetRef, fingerprint
from data_contracts.risk import RiskModel
from data_contracts.settings import EngineSettings, MiningSettings, SelectionSettings
from data_contracts.tables import evidence_schema, positives_schema
from polymine.mining.evidence import gather_evidence
from polymine.mining.evidence import score_positives as score_known
from polymine.mining.pipeline import add_risk
from polymine.mining.ranking import BLOCK_QUERIES, NOTHING, Ranked, rank_below
from polymine.mining.selection import (
    compare_with_ceilings,
    compute_ceilings,
    count_searched,
    find_short,
    limit_depth,
)
from tasks.progress import TaskProgress
from tasks.ranking import from_frame
from tasks.risk import load_model
from tasks.stages import stage
from tasks.store import Store, load, shard_name, shard_paths
from tasks.teachers import Inputs, Opened

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
    schema = schema_of(mining)
    version = _version(
        collection,
        inputs,
        names=schema.column_names(),
        rankings=[ref.fingerprint for ref in rankings],
    )
    dataset = Store(root).dataset("evidence", version)
    if found := dataset.find():
        return found
    opened, progress = Opened(collection, mining, inputs, engine), TaskProgress()
    teachers = opened.teachers(mining.teachers)
    progress.start("evidence", len(opened.ids.queries), "queries")
    shards = zip(opened.shards(), *map(shard_paths, rankings), strict=True)
    for number, (rows, *paths) in enumerate(shards):
        if not dataset.has(shard_name(number)):
            ranked = [from_frame(pl.read_parquet(path), opened.ids) for path in paths]
            frame = gather_evidence(teachers, ranked, opened.known.of(rows), opened.ids)
            dataset.write(shard_name(number), frame, schema)
        progress.advance("evidence", len(rows))
    progress.finish("evidence")
    return dataset.commit()


@stage("deepen")
def deepen(
    collection: CollectionRef,
    base: DatasetRef,
    positives: DatasetRef,
    model: DatasetRef,
    mining: MiningSettings,
    inputs: Inputs,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Search the whole corpus below the ceiling for queries that are short of candidates.

    Under the rule `risk` that is below what was ranked, for queries whose candidates are too risky.
    """
    by_risk = mining.selection.rule == "risk"
    needed = count_searched(mining)  # `shifted` passes over some of those that it finds
    version = fingerprint(
        version=VERSION,
        base=base.fingerprint,
        rule=_limits(mining.selection),
        teacher=mining.deciding_teacher,
        needed=needed,
        model=model.fingerprint if by_risk else None,
    )
    dataset = Store(root).dataset("evidence", version)
    if found := dataset.find():
        return found
    schema = schema_of(mining)
    ceilings, progress = load_ceilings(positives, mining), TaskProgress()
    queries = load(collection.queries).select("query_id", "language")
    blocks = queries.select("query_id").iter_slices(engine.shard_queries)
    weights = load_model(model)
    searched: _Search | None = None
    progress.start("deepen", collection.queries.rows, "queries")
    for number, (path, block) in enumerate(zip(shard_paths(base), blocks, strict=True)):
        if dataset.has(shard_name(number)):
            progress.advance("deepen", len(block))
            continue
        gathered = pl.read_parquet(path, columns=None if by_risk else _columns(mining))
        gathered = _with_risk(gathered, queries, weights, mining)
        compared, limits = _compare(gathered, ceilings, mining)
        short = find_short(compared, limits, block["query_id"], needed)
        progress.advance("deepen", len(block) - len(short))
        deeper: pl.DataFrame = schema.create_empty()
        if len(short):
            searched = searched or _Search(Opened(collection, mining, inputs, engine), mining)
            likeliest = gathered.filter("in_centroid").select("query_id", "doc_id")
            deeper = searched.below(short, likeliest, progress)
            deeper = deeper.join(gathered, on=["query_id", "doc_id"], how="anti")
        dataset.write(shard_name(number), deeper, schema)
    progress.finish("deepen")
    return dataset.commit({"base": base.fingerprint})


def schema_of(mining: MiningSettings) -> type[dy.Schema]:
    """Schema of the evidence that these teachers bring."""
    names = tuple(teacher.name for teacher in mining.teachers)
    dense = tuple(teacher.name for teacher in mining.teachers if teacher.kind == "dense")
    return evidence_schema(names, dense)


def _limits(selection: SelectionSettings) -> dict[str, object]:
    """What of the rule decides where the search goes: another sampling searches nothing anew."""
    value: float | None = selection.shift if selection.rule == "shifted" else None
    if selection.rule in ("absolute", "margin", "percent"):
        value = getattr(selection, selection.rule)
    return {"rule": selection.rule, "value": value, "ceiling": selection.ceiling}


def load_ceilings(positives: DatasetRef, mining: MiningSettings) -> pl.DataFrame:
    """Read the positives and compute each query's ceiling under the rule."""
    scores = load(positives).select("query_id", score=_score(mining))
    return compute_ceilings(scores, mining.selection)


class _Search:
    """The corpus and its teachers, opened once for all shards that have queries to search for."""

    def __init__(self, opened: Opened, mining: MiningSettings) -> None:
        self._ids, self._known = opened.ids, opened.known
        self._teachers = opened.teachers(mining.teachers)
        names = [model.name for model in self._teachers]
        self._deciding = self._teachers[names.index(mining.deciding_teacher)]
        self._count = count_searched(mining)

    def below(
        self, short: pl.DataFrame, likeliest: pl.DataFrame, progress: TaskProgress
    ) -> pl.DataFrame:
        """Gather the evidence on what lies below the ceilings of short queries."""
        rows = self._ids.queries.search_sorted(short["query_id"]).to_numpy().astype(np.int64)
        limits = short["ceiling"].to_numpy()
        nothing: list[Ranked] = [NOTHING] * len(self._teachers)
        parts = []
        for start in range(0, len(rows), BLOCK_QUERIES):
            part = slice(start, start + BLOCK_QUERIES)
            known = self._known.of(rows[part])
            deep = rank_below(self._deciding, rows[part], limits[part], self._count, known.closed)
            some = likeliest.join(short[part].select("query_id"), on="query_id", how="semi")
            parts.append(gather_evidence(self._teachers, nothing, known, self._ids, deep, some))
            progress.advance("deepen", len(rows[part]))
        return pl.concat(parts)


def _compare(
    gathered: pl.DataFrame, ceilings: pl.DataFrame, mining: MiningSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Say what passes, and below which scores to look for more."""
    teacher, selection = mining.deciding_teacher, mining.selection
    compared = compare_with_ceilings(gathered, ceilings, teacher, selection)
    if selection.rule != "risk":
        return compared, ceilings
    return limit_depth(compared, gathered, ceilings, teacher)


def _with_risk(
    gathered: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, mining: MiningSettings
) -> pl.DataFrame:
    """Assess candidates for the rule that needs it."""
    if mining.selection.rule == "risk":
        return add_risk(gathered, queries, model, mining)
    return gathered.with_columns(risk=pl.lit(None, pl.Float32))


def _columns(mining: MiningSettings) -> list[str]:
    return ["query_id", "doc_id", "closed", "in_centroid", _score(mining)]


def _score(mining: MiningSettings) -> str:
    return f"score_{mining.deciding_teacher}"


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
    return [pl.concat([pl.scan_parquet(left), pl.scan_parquet(right)]) for left, right in pairs]
