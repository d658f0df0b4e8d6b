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
    """Name the kinds of teachers.

    Args:
        teachers: name and kind of each.

    Returns:
        Each kind once, sorted: the key of the weights that fit them.
    """
    return tuple(sorted({kind for _, kind in teachers}))


def columns_of(teachers: Teachers) -> dict[str, list[str]]:
    """Name the evidence columns of each feature.

    Args:
        teachers: name and kind of each.

    Returns:
        Feature to the columns it is the mean of, in the order of FEATURES and of the teachers;
        without features that these teachers cannot give.
    """
    columns = {
        feature: [prefix + name for name, of in teachers if of == kind]
        for feature, (prefix, kind) in FEATURES.items()
    }
    return {feature: names for feature, names in columns.items() if names}


def features_of(evidence: pl.DataFrame, teachers: Teachers) -> dict[str, Array]:
    """Average the z-scores over the teachers of a kind.

    Args:
        evidence: with the columns that `columns_of` names.

    Returns:
        Feature to float64 values, shape (n,), clipped to -10 .. 10; NaN where all are null.
    """
    return {
        feature: evidence.select(pl.mean_horizontal(names).clip(-CLIP, CLIP))
        .to_series()
        .cast(pl.Float64)
        .fill_null(np.nan)
        .to_numpy()
        for feature, names in columns_of(teachers).items()
    }


def design(features: dict[str, Array], names: Sequence[str], centres: Sequence[float]) -> Array:
    """Build the matrix of centred features.

    Args:
        features: as from `features_of`, with all of `names`.
        names, centres: the columns in their order, and what is subtracted from each.

    Returns:
        Shape (n, len(names)); 0 where a feature is missing, as if it were at its centre.
    """
    rows = len(next(iter(features.values())))
    matrix = np.empty((rows, len(names)))
    for at, (name, centre) in enumerate(zip(names, centres, strict=True)):
        matrix[:, at] = np.nan_to_num(features[name] - centre)
    return matrix


def log_odds(linear: Linear, features: dict[str, Array]) -> Array:
    """Compute the log-odds of each row, feature by feature, so that no other row changes its bits.

    Args:
        features: as from `features_of`, with all that the model has.

    Returns:
        Shape (n,); a missing feature counts 0.
    """
    out = np.full(len(next(iter(features.values()))), linear.intercept)
    for name, centre, weight in zip(linear.features, linear.centres, linear.weights, strict=True):
        out += np.nan_to_num(features[name] - centre) * weight
    return out


def sigmoid(values: Array) -> Array:
    """Turn log-odds into probabilities.

    Args:
        values: of any shape.

    Returns:
        Between 0 and 1, of the same shape.
    """
    return 1.0 / (1.0 + np.exp(-values))


def predict_risk(
    model: RiskModel, evidence: pl.DataFrame, teachers: Teachers, languages: pl.Series
) -> Array:
    """Predict the risk of every candidate.

    Args:
        evidence: rows of the contract Evidence.
        teachers: name and kind of each teacher.
        languages: the query's language of each row; one with an offset of its own gets it for
            candidates in that language.

    Returns:
        Shape (n,), float64 in (0, 1); 0 or 1 exactly where a label says so.
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
