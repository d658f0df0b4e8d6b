"""Searches the whole corpus below the ceiling, for queries that are short of candidates."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import EngineSettings, MiningSettings, SelectionSettings
from polymine.mining.evidence import gather_evidence
from polymine.mining.pipeline import add_risk
from polymine.mining.ranking import BLOCK_QUERIES, NOTHING, Ranked, rank_below
from polymine.mining.selection import (
    compare_with_ceilings,
    count_searched,
    find_short,
    limit_depth,
)
from polymine.progress import Progress
from polymine.tasks.engine.shards import Content, Make, Order, ShardWork, cut, run_shards
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.evidence import VERSION, load_ceilings, schema_of, score_column
from polymine.tasks.mining.risk import load_model
from polymine.tasks.mining.teachers import Inputs, Opened
from polymine.tasks.store.datasets import load, shard_paths


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
        teacher=mining.primary_teacher,
        needed=needed,
        model=model.fingerprint if by_risk else None,
    )
    work = DeepenWork(
        stage="deepen",
        unit="queries",
        root=root,
        contract="evidence",
        fingerprint=version,
        engine=engine,
        collection=collection,
        base=base,
        positives=positives,
        model=model,
        mining=mining,
        inputs=inputs,
    )
    dataset = work.dataset()
    if found := dataset.find():
        return found
    shards = run_shards(work, cut(collection.queries.rows, engine.shard_queries))
    return dataset.commit({"base": base.fingerprint}, expected=shards)


@dataclass(frozen=True, kw_only=True)
class DeepenWork(ShardWork):
    """What deeper evidence is made from: a shard of the evidence that is there."""

    collection: CollectionRef
    base: DatasetRef
    positives: DatasetRef
    model: DatasetRef
    mining: MiningSettings
    inputs: Inputs

    def open(self) -> Make:
        """Open ceilings and risk; the teachers only when a query needs them."""
        mining, schema = self.mining, schema_of(self.mining)
        columns = None if mining.selection.rule == "risk" else _columns(mining)
        ceilings, weights = load_ceilings(self.positives, mining), load_model(self.model)
        queries = load(self.collection.queries).select("query_id", "language")
        blocks = queries.select("query_id").iter_slices(self.engine.shard_queries)
        shards = list(zip(shard_paths(self.base), blocks, strict=True))
        searches: list[_Search] = []

        def make(number: int, order: Order, progress: Progress) -> Content:
            path, block = shards[number]
            gathered = pl.read_parquet(path, columns=columns, glob=False)
            gathered = _with_risk(gathered, queries, weights, mining)
            compared, limits = _compare(gathered, ceilings, mining)
            short = find_short(compared, limits, block["query_id"], count_searched(mining))
            progress.advance(self.stage, len(block) - len(short))
            if not len(short):
                return schema.create_empty(), schema
            if not searches:
                opened = Opened(self.collection, mining, self.inputs, self.engine)
                searches.append(_Search(opened, mining))
            likeliest = gathered.filter("in_centroid").select("query_id", "doc_id")
            deeper = searches[0].below(short, likeliest, progress)
            return deeper.join(gathered, on=["query_id", "doc_id"], how="anti"), schema

        return make


class _Search:
    """The corpus and its teachers, opened once for all shards that have queries to search for."""

    def __init__(self, opened: Opened, mining: MiningSettings) -> None:
        self._ids, self._known = opened.ids, opened.known
        self._teachers = opened.teachers(mining.teachers)
        names = [model.name for model in self._teachers]
        self._deciding = self._teachers[names.index(mining.primary_teacher)]
        self._count = count_searched(mining)

    def below(
        self, short: pl.DataFrame, likeliest: pl.DataFrame, progress: Progress
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
    teacher, selection = mining.primary_teacher, mining.selection
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
    return ["query_id", "doc_id", "closed", "in_centroid", score_column(mining)]


def _limits(selection: SelectionSettings) -> dict[str, object]:
    """What of the rule decides where the search goes: another sampling searches nothing anew."""
    value: float | None = selection.shift if selection.rule == "shifted" else None
    if selection.rule in ("absolute", "margin", "percent"):
        value = getattr(selection, selection.rule)
    return {"rule": selection.rule, "value": value}
