"""Reads what the report shows of the risk: the weights, the trade-off, the validator's share."""

import polars as pl

from polymine.data_contracts.notes import DecisionsNote
from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.mining.risk import Kept, RiskData, ValidatorUpdate, compare_update
from polymine.tasks.mining.export import Sources
from polymine.tasks.mining.risk import load_model
from polymine.tasks.store.datasets import note_of, scan


def read_risk(
    sources: Sources,
    negatives: pl.LazyFrame,
    kept: Kept,
    mining: MiningSettings,
) -> RiskData:
    """Read the weights, what there was to choose and what the validator changed."""
    model, fitted = load_model(sources.model), mining.risk.fit
    if mining.selection.rule != "risk":
        return RiskData(model, kept, fitted)
    note = note_of(sources.decisions, DecisionsNote)
    return RiskData(
        model=model,
        kept=kept,
        fitted=fitted,
        budget=mining.selection.max_false_negative_rate,
        choice=note.choice,
        chosen=note.chosen,
        curve=note.curve,
        update=read_update(sources, negatives, mining),
    )


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
