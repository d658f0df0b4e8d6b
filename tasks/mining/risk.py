"""Fits the risk to a data set and predicts it for every candidate: no model, no text, seconds."""

from dataclasses import dataclass
from functools import partial

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Risks
from polymine.mining.risk_estimate import add_risk, unseen_teachers
from polymine.mining.risk_estimate import fit_risk as fit_to_evidence
from polymine.mining.risk_fit import draw_queries
from polymine.mining.risk_weights import shipped
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.teachers import blocks_of
from polymine.tasks.store.datasets import Dataset, load, open_folder, scan, shard_paths

VERSION = 5
FILE = "risk.json"


@dataclass(frozen=True)
class Assessed:
    """Candidates with all that is known of them, by references, and the known positives."""

    collection: CollectionRef
    evidence: DatasetRef
    deep: DatasetRef
    positives: DatasetRef
    risks: DatasetRef

    def scan(self) -> list[pl.LazyFrame]:
        """Put risks beside the evidence of both searches: one lazy frame per block of queries."""
        shards = map(shard_paths, (self.evidence, self.deep, self.risks))
        return [
            pl.concat(
                [
                    pl.scan_parquet([base, deep], glob=False),
                    pl.scan_parquet(risk, glob=False).select("risk"),  # in the same order
                ],
                how="horizontal",
                strict=True,
            )
            for base, deep, risk in zip(*shards, strict=True)
        ]


@stage("fit-risk")
def fit_risk(
    run: Context,
    collection: CollectionRef,
    base: DatasetRef,
    mining: MiningSettings,
) -> Plan:
    """Fit the risk to what the data offer, starting from the shipped weights."""

    def make(number: int, order: Order, progress: Progress) -> partial[None]:
        queries = load(collection.queries).select("query_id", "language")
        labels = load(collection.labels)
        drawn = draw_queries(queries, labels["query_id"], mining.risk.fit_queries)
        rows = scan(base).filter(pl.col("query_id").is_in(drawn.implode())).collect()
        return partial(_write, fit_to_evidence(rows, queries, labels, mining))

    return Plan(
        contract="risk_models",
        depends={
            "version": VERSION,
            "evidence": base,
            "shipped": shipped(),
            # The models themselves are in the evidence, wherever they lie.
            "teachers": [mining.teacher_kinds, unseen_teachers(mining)],
            "fit": mining.risk.fit,
            "queries": mining.risk.fit_queries,
        },
        open=lambda _: Maker(make),
        resumable=False,
    )


def _write(model: RiskModel, dataset: Dataset) -> None:
    with dataset.staging() as folder:
        (folder / FILE).write_text(model.model_dump_json(indent=1), encoding="utf-8")


@stage("predict-risk")
def predict_risk(
    run: Context,
    collection: CollectionRef,
    base: DatasetRef,
    deep: DatasetRef,
    model: DatasetRef,
    mining: MiningSettings,
) -> Plan:
    """Estimate how likely each candidate is to be relevant."""

    def open_model(run: Context) -> Maker:
        queries = load(collection.queries).select("query_id", "language")
        weights = load_model(model)
        blocks = list(zip(shard_paths(base), shard_paths(deep), strict=True))

        def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
            parts = [pl.read_parquet(path, glob=False) for path in blocks[number]]
            return pl.concat([risks_of(part, queries, weights, mining) for part in parts])

        return Maker(make, Risks)

    return Plan(
        contract="risks",
        depends={"version": VERSION, "evidence": [base, deep], "model": model},
        blocks=blocks_of(collection, run.engine),
        unit="queries",
        open=open_model,
    )


def risks_of(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, mining: MiningSettings
) -> pl.DataFrame:
    """Predict the risk of rows of evidence (contract Risks), in their order."""
    return add_risk(evidence, queries, model, mining).select("query_id", "doc_id", "risk")


def load_model(reference: DatasetRef) -> RiskModel:
    """Read a fitted model."""
    return RiskModel.model_validate_json((open_folder(reference.path) / FILE).read_bytes())
