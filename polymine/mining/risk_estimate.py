"""The risk of a data set's candidates: fitted to what the data offer, then put to every row."""

import numpy as np
import polars as pl

from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.risk import predict_risk
from polymine.mining.risk_fit import draw_queries, fit
from polymine.mining.risk_weights import load_prior, shipped


def fit_risk(
    evidence: pl.DataFrame,
    queries: pl.DataFrame,
    labels: pl.DataFrame,
    settings: MiningSettings,
) -> RiskModel:
    """Fit the risk to evidence, or take the shipped weights if the settings say so.

    Args:
        evidence: contract Evidence of all queries.
        queries: query_id, language.
        labels: query_id of what is labelled.

    Returns:
        The model; the order of the rows does not change it.
    """
    prior = load_prior(settings.teacher_kinds, unseen_teachers(settings))
    if not settings.risk.fit:
        return prior
    drawn = draw_queries(
        queries.select("query_id", "language"), labels["query_id"], settings.risk.fit_queries
    )
    rows = evidence.filter(pl.col("query_id").is_in(drawn.implode())).sort("query_id", "doc_id")
    return fit(rows, settings.teacher_kinds, languages_of(rows, queries), prior)


def unseen_teachers(settings: MiningSettings) -> tuple[str, ...]:
    """Name the teachers whose models the shipped weights were not fitted with."""
    known = shipped().models
    return tuple(each.name for each in settings.teachers if each.model and each.model not in known)


def add_risk(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, settings: MiningSettings
) -> pl.DataFrame:
    """Put the `risk` (float32) to every row of evidence."""
    languages = languages_of(evidence, queries)
    risk = predict_risk(model, evidence, settings.teacher_kinds, languages)
    return evidence.with_columns(risk=pl.Series(risk.astype(np.float32)))


def languages_of(evidence: pl.DataFrame, queries: pl.DataFrame) -> pl.Series:
    """The query's language of each row of evidence."""
    known = queries.select("query_id", "language")
    rows = evidence.select("query_id").join(known, on="query_id", how="left", maintain_order="left")
    return rows["language"]
