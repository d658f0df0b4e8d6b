"""Fits the risk to a data set and assesses every candidate: no model, no text, seconds."""

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import EngineSettings, MiningSettings
from polymine.data_contracts.tables import Risks
from polymine.mining.pipeline import add_risk
from polymine.mining.pipeline import fit_risk as fit_to_evidence
from polymine.mining.risk_fit import draw_queries
from polymine.mining.risk_weights import shipped
from polymine.mining.validation import PairScore
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.pair_score_cache import ScoreBook, score_family
from polymine.tasks.store.datasets import (
    Store,
    load,
    open_folder,
    scan,
    shard_name,
    shard_paths,
    write_bytes,
)

VERSION = 2
FILE = "risk.json"


@stage("fit-risk")
def fit_risk(
    collection: CollectionRef,
    base: DatasetRef,
    positives: DatasetRef,
    mining: MiningSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Fit the risk to what the data offer, starting from the shipped weights."""
    version = fingerprint(
        version=VERSION,
        evidence=base.fingerprint,
        shipped=shipped(),
        teachers=[(teacher.name, teacher.kind, teacher.model) for teacher in mining.teachers],
        fit=mining.risk.fit,
        queries=mining.risk.fit_queries,
        validator=_labelling(mining),
    )
    dataset = Store(root).dataset("risk_models", version)
    if found := dataset.find():
        return found
    queries = load(collection.queries).select("query_id", "language")
    labels = load(collection.labels)
    drawn = draw_queries(queries, labels["query_id"], mining.risk.fit_queries)
    rows = scan(base).filter(pl.col("query_id").is_in(drawn.implode())).collect()
    known = load(positives).select("query_id", "doc_id")

    def open_validator() -> PairScore:
        assert mining.validation is not None
        family = score_family(mining.validation)
        return ScoreBook(Store(root), family, collection, mining.validation, engine).score

    model = fit_to_evidence(rows, queries, known, labels, mining, open_validator)
    write_bytes(dataset.folder / FILE, model.model_dump_json(indent=1).encode())
    return dataset.commit({"evidence": base.fingerprint})


def _labelling(mining: MiningSettings) -> dict[str, object] | None:
    """What the validator's labels depend on, if it is to give any."""
    settings = mining.validation
    by_risk = mining.selection.rule == "risk"
    if settings is None or not (by_risk and mining.risk.validator_labels):
        return None
    return {
        "scores": score_family(settings),
        "limits": [settings.margin, settings.grey_zone],
        "sample": mining.risk.validator_sample,
    }


@stage("assess")
def assess(
    collection: CollectionRef,
    base: DatasetRef,
    deep: DatasetRef,
    model: DatasetRef,
    mining: MiningSettings,
    root: str,
) -> DatasetRef:
    """Estimate how likely each candidate is to be relevant."""
    version = fingerprint(
        version=VERSION,
        evidence=[base.fingerprint, deep.fingerprint],
        model=model.fingerprint,
    )
    dataset = Store(root).dataset("risks", version)
    if found := dataset.find():
        return found
    queries = load(collection.queries).select("query_id", "language")
    weights = load_model(model)
    parts, progress = zip(shard_paths(base), shard_paths(deep), strict=True), TaskProgress()
    progress.start("assess", base.rows + deep.rows, "candidates")
    for number, paths in enumerate(parts):
        if dataset.has(shard_name(number)):
            continue
        rows = [
            risks_of(pl.read_parquet(path, glob=False), queries, weights, mining) for path in paths
        ]
        dataset.write(shard_name(number), pl.concat(rows), Risks)
        progress.advance("assess", sum(map(len, rows)))
    progress.finish("assess")
    return dataset.commit()


def risks_of(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, mining: MiningSettings
) -> pl.DataFrame:
    """Assess rows of evidence (contract Risks), in their order."""
    return add_risk(evidence, queries, model, mining).select("query_id", "doc_id", "risk")


def load_model(reference: DatasetRef) -> RiskModel:
    """Read a fitted model."""
    return RiskModel.model_validate_json((open_folder(reference.path) / FILE).read_bytes())
