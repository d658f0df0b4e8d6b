"""Searches the whole corpus below the ceiling, for queries that are short of candidates."""

from functools import cache, partial

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.deepening import DeepSearch, compare_below
from polymine.mining.risk_estimate import add_risk
from polymine.mining.selection import count_searched, find_short
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.evidence import VERSION, load_ceilings, schema_of
from polymine.tasks.mining.risk import load_model
from polymine.tasks.mining.teachers import Inputs, Opened, blocks_of
from polymine.tasks.store.datasets import load, shard_paths


@stage("deepen")
def deepen(
    run: Context,
    collection: CollectionRef,
    base: DatasetRef,
    positives: DatasetRef,
    model: DatasetRef,
    mining: MiningSettings,
    inputs: Inputs,
    choice: DatasetRef | None = None,
) -> Plan:
    """Search the whole corpus below the ceiling for queries that are short of candidates.

    Under the rule `risk` that is below what was ranked, for queries whose candidates are too risky.
    `choice` is what chose the primary teacher of `mining`, if anything did.
    """
    by_risk = mining.selection.rule == "risk"
    return Plan(
        contract="evidence",
        depends={
            "version": VERSION,
            "base": base,
            "rule": _limits(mining.selection),
            "teacher": mining.primary_teacher,
            "needed": count_searched(mining),  # `shifted` passes over some of those that it finds
            "model": model if by_risk else None,
        },
        blocks=blocks_of(collection, run.engine),
        unit="queries",
        open=partial(_open, collection, base, positives, model, mining, inputs),
        spread=True,
    )


def _open(
    collection: CollectionRef,
    base: DatasetRef,
    positives: DatasetRef,
    model: DatasetRef,
    mining: MiningSettings,
    inputs: Inputs,
    run: Context,
) -> Maker:
    """Open ceilings and risk; the teachers only when a query needs them."""
    by_risk, schema = mining.selection.rule == "risk", schema_of(mining)
    score = f"score_{mining.primary_teacher}"
    columns = None if by_risk else ["query_id", "doc_id", "closed", "in_centroid", score]
    ceilings, weights = load_ceilings(positives, mining), load_model(model)
    queries = load(collection.queries).select("query_id", "language")
    blocks = queries.select("query_id").iter_slices(run.engine.shard_queries)
    shards = list(zip(shard_paths(base), blocks, strict=True))

    @cache
    def search() -> DeepSearch:
        opened = Opened(collection, mining, inputs, run.engine)
        return DeepSearch(opened.teachers(), opened.known, opened.ids, mining)

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        path, block = shards[number]
        gathered = pl.read_parquet(path, columns=columns, glob=False)
        if by_risk:
            gathered = add_risk(gathered, queries, weights, mining)
        compared, limits = compare_below(gathered, ceilings, mining)
        short = find_short(compared, limits, block["query_id"], count_searched(mining))
        progress.advance("deepen", len(block) - len(short))
        if not len(short):
            return schema.create_empty()
        likeliest = gathered.filter("in_centroid").select("query_id", "doc_id")
        deeper = search().below(short, likeliest, progress)
        return deeper.join(gathered, on=["query_id", "doc_id"], how="anti")

    return Maker(make, schema)


def _limits(selection: SelectionSettings) -> dict[str, object]:
    """What of the rule decides where the search goes: another sampling searches nothing again."""
    value: float | None = selection.shift if selection.rule == "shifted" else None
    if selection.rule in ("absolute", "margin", "percent"):
        value = getattr(selection, selection.rule)
    return {"rule": selection.rule, "value": value}
