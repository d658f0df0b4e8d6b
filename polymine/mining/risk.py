"""The probability that a candidate is relevant, from all the evidence on it.

A logistic model whose features are z-scores averaged over the teachers of a kind, so that the same
weights serve any number of teachers. Shipped weights (see `risk_weights`) are the prior; what the
data at hand know is fitted on top of it by `risk_fit`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.risk import PAIRS, Linear, RiskModel

Array = NDArray[np.float64]

CLIP = 10.0  # z-scores beyond it say no more; BM25 of a rare word reaches 40
# Feature -> prefix of the evidence columns it is the mean of, and the kind of teacher they are of.
FEATURES = {
    "query": ("z_", "dense"),
    "document": ("document_z_", "dense"),
    "positive": ("positive_z_", "dense"),
    "gap": ("gap_z_", "dense"),
    "feedback": ("feedback_z_", "dense"),
    "words": ("z_", "lexical"),
    "positive_words": ("positive_z_", "lexical"),
}
QUERY_SIDE = ("query", "document", "words")  # known of a query's only positive, too
Teachers = Sequence[tuple[str, str]]  # (name, kind)


def kinds_of(teachers: Teachers) -> tuple[str, ...]:
    """Kinds of teachers, the key of the weights that fit them."""
    return tuple(sorted({kind for _, kind in teachers}))


def columns_of(teachers: Teachers) -> dict[str, list[str]]:
    """Evidence columns of each feature that these teachers can give."""
    columns = {
        feature: [prefix + name for name, of in teachers if of == kind]
        for feature, (prefix, kind) in FEATURES.items()
    }
    return {feature: names for feature, names in columns.items() if names}


def features_of(evidence: pl.DataFrame, teachers: Teachers) -> dict[str, Array]:
    """Compute the features, shape (n,) each; NaN where the evidence has nothing."""
    return {
        feature: evidence.select(pl.mean_horizontal(names).clip(-CLIP, CLIP))
        .to_series()
        .cast(pl.Float64)
        .fill_null(np.nan)
        .to_numpy()
        for feature, names in columns_of(teachers).items()
    }


def design(features: dict[str, Array], names: Sequence[str], centres: Sequence[float]) -> Array:
    """Matrix of centred features, shape (n, len(names)); what is missing is 0."""
    rows = len(next(iter(features.values())))
    matrix = np.empty((rows, len(names)))
    for at, (name, centre) in enumerate(zip(names, centres, strict=True)):
        matrix[:, at] = np.nan_to_num(features[name] - centre)
    return matrix


def log_odds(linear: Linear, features: dict[str, Array]) -> Array:
    """Log-odds of each row; summed feature by feature, so that the bits depend on nothing else."""
    out = np.full(len(next(iter(features.values()))), linear.intercept)
    for name, centre, weight in zip(linear.features, linear.centres, linear.weights, strict=True):
        out += np.nan_to_num(features[name] - centre) * weight
    return out


def sigmoid(values: Array) -> Array:
    """Log-odds to probability."""
    return 1.0 / (1.0 + np.exp(-values))


def predict_risk(
    model: RiskModel, evidence: pl.DataFrame, teachers: Teachers, languages: pl.Series
) -> Array:
    """Risk of every candidate, shape (n,), in (0, 1); 0 or 1 exactly where a label says so.

    Args:
        evidence: rows of the contract Evidence.
        teachers: name and kind of each teacher.
        languages: the query's language of each row.
    """
    features = features_of(evidence, teachers)
    odds = np.empty(len(evidence))
    same = evidence["same_language"].to_numpy()
    for pair, rows in zip(PAIRS, (same, ~same), strict=True):
        odds[rows] = log_odds(model.full[pair], {k: v[rows] for k, v in features.items()})
    if model.offsets:
        shift = languages.replace_strict(model.offsets, default=0.0, return_dtype=pl.Float64)
        odds += np.where(same, shift.to_numpy(), 0.0)
    label = evidence["label"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(np.isnan(label), sigmoid(odds), label)
