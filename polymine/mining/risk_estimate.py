"""The risk of a data set's candidates: fitted to what the data offer, then put to every row."""

from collections.abc import Callable

import numpy as np
import polars as pl

from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.risk import predict_risk
from polymine.mining.risk_fit import draw_queries, fit
from polymine.mining.risk_weights import load_prior
from polymine.mining.validation import PairScore
from polymine.mining.validator_evidence import draw_sample, label_sample


def fit_risk(
    evidence: pl.DataFrame,
    queries: pl.DataFrame,
    positives: pl.DataFrame,
    labels: pl.DataFrame,
    settings: MiningSettings,
    open_scores: Callable[[], PairScore],
) -> RiskModel:
    """Fit the risk to evidence, or take the shipped weights if the settings say so.

    Args:
        positives: query_id, doc_id of the known positives.
        labels: query_id of what is labelled.
        open_scores: loads the validator; called only if it is to label a sample.
    """
    models = tuple(teacher.model for teacher in settings.teachers if teacher.model)
    prior = load_prior(settings.teacher_kinds, models)
    if not settings.risk.fit:
        return prior
    drawn = draw_queries(
        queries.select("query_id", "language"), labels["query_id"], settings.risk.fit_queries
    )
    rows = evidence.filter(pl.col("query_id").is_in(drawn.implode())).sort("query_id", "doc_id")
    languages = languages_of(rows, queries)
    model = fit(rows, settings.teacher_kinds, languages, prior)
    by_risk = settings.selection.rule == "risk"
    if settings.validation is None or not (by_risk and settings.risk.validator_labels):
        return model
    open_ = add_risk(rows, queries, model, settings).filter(pl.col("closed").is_null())
    sample = draw_sample(open_, settings.risk.validator_sample)
    labels = label_sample(sample, positives, settings.validation, open_scores())
    keys = ["query_id", "doc_id"]
    rows = rows.join(labels, on=keys, how="left", suffix="_said", maintain_order="left")
    rows = rows.with_columns(label=pl.coalesce("label", "label_said")).drop("label_said")
    return fit(rows, settings.teacher_kinds, languages, prior)


def add_risk(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, settings: MiningSettings
) -> pl.DataFrame:
    """Put the `risk` to every row of evidence."""
    languages = languages_of(evidence, queries)
    risk = predict_risk(model, evidence, settings.teacher_kinds, languages)
    return evidence.with_columns(risk=pl.Series(risk.astype(np.float32)))


def languages_of(evidence: pl.DataFrame, queries: pl.DataFrame) -> pl.Series:
    """The query's language of each row of evidence."""
    known = queries.select("query_id", "language")
    rows = evidence.select("query_id").join(known, on="query_id", how="left", maintain_order="left")
    return rows["language"]
