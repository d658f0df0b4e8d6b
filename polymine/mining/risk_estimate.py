"""The risk of a data set's candidates: fitted to what the data offer, then put to every row."""

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Precision
from polymine.data_contracts.risk import Pair, RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.likelihoods import DECIMALS
from polymine.mining.precision import fit_corrections, rate_spread_of
from polymine.mining.risk import predict_risk, sigmoid
from polymine.mining.risk_fit import draw_queries, fit
from polymine.mining.risk_weights import load_prior, shipped

_OF_KIND: dict[Pair, str] = {"same": "the language of their query", "foreign": "another language"}


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
        labels: contract Labels.

    Returns:
        The model, corrected by the labels of people; the order of the rows does not change it.
    """
    prior = load_prior(settings.teacher_kinds, unseen_teachers(settings))
    if not settings.risk.fit:
        return prior
    drawn = draw_queries(
        queries.select("query_id", "language"), labels["query_id"], settings.risk.fit_queries
    )
    rows = evidence.filter(pl.col("query_id").is_in(drawn.implode())).sort("query_id", "doc_id")
    model = fit(rows, settings.teacher_kinds, languages_of(rows, queries), prior)
    for found in find_corrections(rows, queries, labels, model, settings):
        model = correct(model, found)
    return model


def find_corrections(
    evidence: pl.DataFrame,
    queries: pl.DataFrame,
    labels: pl.DataFrame,
    model: RiskModel,
    settings: MiningSettings,
) -> tuple[Precision, ...]:
    """Learn from labelled pairs how far the risk is off."""
    pairs = assess_labelled(evidence, queries, labels, model, settings)
    return fit_corrections(pairs, model.rate_spread)


def assess_labelled(
    evidence: pl.DataFrame,
    queries: pl.DataFrame,
    labels: pl.DataFrame,
    model: RiskModel,
    settings: MiningSettings,
) -> pl.DataFrame:
    """Compare the risk of labelled pairs, as if nobody had labelled them, with their labels.

    Judgments of 0 count as no sample: they are of a few queries, and of what a system found.

    Args:
        evidence, queries, labels: as of `fit_risk`.
        model: fitted to them.

    Returns:
        query_id, doc_id, risk, kind (`same` or `foreign`), languages, right.
    """
    said = labels.filter(pl.col("source").cast(pl.String) == "labels")
    asked = evidence.join(said, on=["query_id", "doc_id"], how="semi", maintain_order="left")
    asked = asked.filter(pl.col("label").is_not_null())
    blind = add_risk(asked.with_columns(label=pl.lit(None, pl.Int8)), queries, model, settings)
    kind = pl.when("same_language").then(pl.lit("same")).otherwise(pl.lit("foreign"))
    return blind.select(
        "query_id", "doc_id", "risk", kind=kind, languages=languages_of(asked, queries),
        right=asked["label"] > 0,
    )  # fmt: skip


def correct(model: RiskModel, found: Precision) -> RiskModel:
    """Move the log-odds of a kind of candidates onto the line that labels drew.

    Args:
        model: its risks are too high or too low.
        found: the line, and of which kind.

    Returns:
        The corrected model, with a note on it.
    """
    pair: Pair = "same" if found.pair == "same" else "foreign"
    full = model.full[pair]
    intercept = found.intercept + found.slope * (full.intercept - found.centre)
    moved = full.model_copy(
        update={
            "intercept": round(intercept, DECIMALS),
            "weights": tuple(round(weight * found.slope, DECIMALS) for weight in full.weights),
        }
    )
    offsets = {name: round(each * found.slope, DECIMALS) for name, each in model.offsets.items()}
    before, after = (float(sigmoid(odds)) for odds in (found.centre, found.intercept))  # type: ignore[arg-type]
    note = (
        f"{found.pairs} labels, {found.right} of them relevant, correct the risk of candidates in "
        f"{_OF_KIND[pair]}: what was {before:.1%} near the labels counts as {after:.1%}"
    )
    return model.model_copy(
        update={
            "full": {**model.full, pair: moved},
            "offsets": offsets if pair == "same" else model.offsets,
            "rate_spread": min(model.rate_spread, rate_spread_of(found)),
            "notes": (*model.notes, note),
        }
    )


def unseen_teachers(settings: MiningSettings) -> tuple[str, ...]:
    """Name the teachers whose models the shipped weights were not fitted with."""
    known = shipped().models
    return tuple(each.name for each in settings.teachers if each.model and each.model not in known)


def add_risk(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, settings: MiningSettings
) -> pl.DataFrame:
    """Put the risk to every row of evidence.

    Args:
        evidence: contract Evidence.
        queries: query_id, language.
        model: the weights.
        settings: say which teachers there are.

    Returns:
        The evidence with `risk` (float32, from 0 to 1) as its last column.
    """
    languages = languages_of(evidence, queries)
    risk = predict_risk(model, evidence, settings.teacher_kinds, languages)
    return evidence.with_columns(risk=pl.Series(risk.astype(np.float32)))


def languages_of(evidence: pl.DataFrame, queries: pl.DataFrame) -> pl.Series:
    """Look up the query's language of each row of evidence.

    Args:
        evidence: query_id and more.
        queries: query_id, language.

    Returns:
        Codes in the order of the rows; null for a query that is not there.
    """
    known = queries.select("query_id", "language")
    rows = evidence.select("query_id").join(known, on="query_id", how="left", maintain_order="left")
    return rows["language"]
