"""Reads what the report shows of the risk: the weights, the trade-off, the validator's share."""

from collections.abc import Iterable

import polars as pl

from polymine.data_contracts.notes import DecisionsNote, Promotion
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.mining import precision
from polymine.mining.labelling import DRAWN, draw_pairs
from polymine.mining.risk_estimate import assess_labelled
from polymine.reporting.mining.risk import (
    Kept,
    RiskData,
    ValidatorUpdate,
    compare_update,
    count_labelled,
)
from polymine.tasks.mining.export import Sources
from polymine.tasks.mining.risk import load_model
from polymine.tasks.store.datasets import load, note_of, scan


def read_risk(
    sources: Sources,
    negatives: pl.LazyFrame,
    kept: Kept,
    mining: MiningSettings,
) -> RiskData:
    """Read the weights, what there was to choose and what the validator changed."""
    model, fitted = load_model(sources.model), mining.risk.fit
    labelled = count_labelled(read_labelled(sources, model, mining))
    if mining.selection.rule != "risk":
        return RiskData(model, kept, fitted, labelled=labelled)
    note = note_of(sources.decisions, DecisionsNote)
    return RiskData(
        model=model,
        kept=kept,
        fitted=fitted,
        budget=mining.selection.max_false_negative_rate,
        choice=note.choice,
        chosen=note.chosen,
        curve=note.curve,
        labelled=labelled,
        update=read_update(sources, negatives, mining),
        positive_budget=mining.selection.max_false_positive_rate,
        promotion=note_of(sources.promotions, Promotion) if sources.promotions else None,
        unmarked=(0, 0) if sources.promotions else count_unmarked(sources),
    )


def count_unmarked(sources: Sources) -> tuple[int, int]:
    """Count likely candidates in another language than their query's, and these queries."""
    likely = scan(sources.risks).filter(pl.col("risk") >= precision.LEAST_PRECISION)
    foreign = pl.concat([scan(part) for part in (sources.evidence, sources.deep)]).filter(
        pl.col("closed").is_null() & pl.col("same_language").not_()
    )
    found = foreign.join(likely, on=["query_id", "doc_id"], how="semi").select("query_id").collect()
    return found.height, found["query_id"].n_unique()


def read_labelled(sources: Sources, model: RiskModel, mining: MiningSettings) -> pl.DataFrame:
    """Assess the pairs that people labelled as if nobody had."""
    labels = load(sources.collection.labels)
    rows = [scan(part) for part in (sources.evidence, sources.deep)]
    evidence = pl.concat(rows).join(labels.lazy(), on=["query_id", "doc_id"], how="semi")
    queries = load(sources.collection.queries).select("query_id", "language")
    return assess_labelled(evidence.collect(), queries, labels, model, mining)


def write_to_label(sources: Sources, kinds: Iterable[str], seed: int) -> str:
    """Draw pairs whose labels would say how precise the risk is, as CSV with their texts.

    Args:
        kinds: `same` or `foreign`, of which nothing is known yet.
        seed: of the draw.
    """
    keys = ["query_id", "doc_id"]
    open_ = pl.col("closed").is_null() & pl.col("label").is_null()
    kind = pl.when("same_language").then(pl.lit("same")).otherwise(pl.lit("foreign"))
    evidence = scan(sources.evidence).filter(open_).select(*keys, kind=kind)
    risks = scan(sources.risks).filter(pl.col("risk") >= precision.LEAST_RISK)
    asked = scan(sources.positives).select("query_id")
    of_kinds = evidence.filter(pl.col("kind").is_in(list(kinds))).join(risks, on=keys)
    likely = of_kinds.join(asked, on="query_id", how="semi").collect()
    texts = ((sources.collection.queries, "query"), (sources.collection.documents, "document"))
    drawn = draw_pairs(likely, DRAWN, seed).join(likely, on=keys, how="left", maintain_order="left")
    for key, (table, name) in zip(keys, texts, strict=True):
        read = load(table).select(key, pl.col("text").alias(name))
        drawn = drawn.join(read, on=key, how="left", maintain_order="left")
    empty = pl.lit(None, pl.Int8).alias("relevance")
    return drawn.select(*keys, empty, "risk", "query", "document").write_csv()


def read_update(
    sources: Sources, negatives: pl.LazyFrame, mining: MiningSettings
) -> ValidatorUpdate | None:
    """Compare what the validator's evidence made of the set with what it was without it."""
    if sources.validator is None or sources.decisions_before is None:
        return None
    return compare_update(
        scan(sources.validator),
        scan(sources.risks),
        scan(sources.decisions_before),
        negatives,
        mining.negatives,
        mining.risk.validator_weight,
    )
