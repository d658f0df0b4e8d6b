"""Mining as a notebook does it: the order of the flow, over tables in memory, without Prefect."""

from contextlib import nullcontext
from dataclasses import dataclass

import polars as pl

from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings, OutputSettings
from polymine.flows.mining import mine_collection
from polymine.mining.ingestion import Ingested
from polymine.tasks.engine.context import Context, temporary
from polymine.tasks.mining.ingestion import SCHEMAS, store_tables
from polymine.tasks.mining.risk import load_model
from polymine.tasks.store.datasets import load, shard_paths


@dataclass(frozen=True)
class Tables:
    """What mining made, by the contracts of the same names; the evidence with its `risk`."""

    triplets: pl.DataFrame
    negatives: pl.DataFrame
    shortfalls: pl.DataFrame
    given: pl.DataFrame | None
    evidence: pl.DataFrame
    risk: RiskModel


def mine(data: Ingested, mining: MiningSettings, run: Context | None = None) -> Tables:
    """Mine ingested tables, in a store that is gone afterwards unless a run names one."""
    with nullcontext(run) if run else temporary() as run:
        frames = {name: getattr(data, name) for name in SCHEMAS}
        version = fingerprint(**{name: frame.rows() for name, frame in frames.items()})
        collection = store_tables(run, frames, version)
        mined = mine_collection(run, collection, OutputSettings(path="unused"), mining)
        sources, paths = mined.sources, shard_paths(mined.exported)

        def table(name: str) -> pl.DataFrame:
            return pl.read_parquet([path for path in paths if path.parent.name == name])

        evidence = pl.concat([load(sources.evidence), load(sources.deep)])
        return Tables(
            table("triplets"),
            table("negatives"),
            table("shortfalls"),
            table("given") if len(data.given) else None,
            evidence.join(load(sources.risks), on=["query_id", "doc_id"]).sort(
                "query_id", "doc_id"
            ),
            load_model(sources.model),
        )
