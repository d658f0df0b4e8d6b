"""Finds further positives: what is precise enough by its risk, and what closes with it."""

from functools import cache

import polars as pl

from polymine.data_contracts.notes import Promotion
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Promotions
from polymine.mining.promotion import (
    close_versions,
    find_precisions,
    keep_labelled,
    keep_likely,
    leave_out_refuted,
    name_languages,
    promote_within,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.risk import Assessed, load_model, risks_of
from polymine.tasks.store.datasets import load

VERSION = 2
COLUMNS = ("query_id", "doc_id", "same_language", "label", "risk")


@stage("promote")
def promote(run: Context, assessed: Assessed, model: DatasetRef, mining: MiningSettings) -> Plan:
    """Promote candidates within the budget of wrong ones, as far as the data say how often."""
    collection = assessed.collection
    budget = mining.selection.max_false_positive_rate

    @cache
    def found() -> tuple[pl.DataFrame, Promotion]:
        queries = load(collection.queries).select("query_id", "language")
        documents = load(collection.documents).select("doc_id", "language")
        weights = load_model(model)
        parts: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        for block in assessed.scan():
            candidates = block.collect()
            said = keep_labelled(candidates)
            blind = said.drop("risk").with_columns(label=pl.lit(None, pl.Int8))
            risk = risks_of(blind, queries, weights, mining)["risk"]
            parts.append((said.with_columns(risk=risk).select(COLUMNS), keep_likely(candidates)))
        known, likely = (
            name_languages(pl.concat(side), queries, documents) for side in zip(*parts, strict=True)
        )
        pairs = load(assessed.positives).select("query_id", "doc_id")
        labels = load(collection.labels)
        open_ = leave_out_refuted(likely, labels, load(collection.versions))
        return promote_within(open_, pairs, find_precisions(known, labels), budget)

    return Plan(
        contract="promotions",
        depends={
            "version": VERSION,
            "risks": assessed.risks,
            "labels": collection.labels,
            "positives": collection.judgments,
            "versions": collection.versions,
            "languages": [collection.queries, collection.documents],
            "budget": budget,
        },
        open=lambda _: Maker(
            lambda *_: close_versions(found()[0], load(collection.versions)), Promotions
        ),
        resumable=False,
        note=lambda _: found()[1],
    )
