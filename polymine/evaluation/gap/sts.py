"""Semantic similarity against people's scores, per pair of languages, with its number of pairs."""

import numpy as np
import polars as pl

from polymine.data_contracts.gap import GapChanges, GapFlags, GapScores, GapSimilarities
from polymine.evaluation.gap.parallel import Vectors
from polymine.evaluation.significance import Resampling
from polymine.evaluation.similarity import correlations

STS = "sts"
FEWEST = 4  # pairs that a correlation with an interval needs
_PAIR = ["language_a", "language_b"]
_NAMED = (
    pl.lit(STS).alias("measure"), pl.col("document_language").alias("language_a"),
    pl.col("query_language").alias("language_b"), pl.col("count"),
)  # fmt: skip


def cross_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pair texts across languages wherever the same pair is there in several.

    A first text in one language and a second one in another have the score that people gave to the
    pair, if both languages' rows agree on it: so a set that was translated as a whole measures
    every direction.

    Args:
        pairs: of `similarity_set`; rows of one `group_id` are versions of a pair.

    Returns:
        case, language_a, language_b, gold, left, right: the group, and rows of `pairs` whose first
        and second text it is.
    """
    rows = pairs.with_row_index("row")
    left = rows.select("group_id", "gold", "language_a", left="row")
    right = rows.select("group_id", "gold", "language_b", right="row")
    joined = left.join(right, on=["group_id", "gold"]).sort("left", "right")
    key = ["group_id", "language_a", "language_b"]
    named = joined.join(rows.select("row", "group_id"), left_on="left", right_on="row")
    return named.unique(key, keep="first", maintain_order=True).rename({"group_id": "case"})


def flag_scored(crossed: pl.DataFrame, fewest: int) -> pl.DataFrame:
    """Name directions whose correlation says little: of few pairs, or of one score.

    Args:
        crossed: of `cross_pairs`.
        fewest: pairs that a direction needs.

    Returns:
        `GapFlags` of the kind `scores`.
    """
    counts = crossed.group_by(_PAIR).agg(count=pl.len(), kinds=pl.col("gold").n_unique())
    poor = counts.filter((pl.col("count") < fewest) | (pl.col("kinds") < 2)).sort(_PAIR)
    told = pl.format(f"{{}} of {fewest} pairs", "count")
    said = pl.when(pl.col("kinds") < 2).then(pl.lit("but one score")).otherwise(told)
    named = poor.select(pl.lit("scores").alias("kind"), *_PAIR, "count", example=said)
    return GapFlags.validate(named, cast=True)


def compare_crossed(crossed: pl.DataFrame, left: Vectors, right: Vectors) -> pl.DataFrame:
    """Put the cosine of every pair beside the score that people gave.

    Args:
        crossed: of `cross_pairs`.
        left, right: unit vectors (n, d) of first and second texts, in the order of the pairs' rows.

    Returns:
        `GapSimilarities`. A direction with fewer than four pairs, or one score, has no rows: no
        correlation is defined there.
    """
    known = (pl.len().over(_PAIR) >= FEWEST) & (pl.col("gold").n_unique().over(_PAIR) > 1)
    rows = crossed.filter(known)
    first, second = rows["left"].to_numpy(), rows["right"].to_numpy()
    cosines = np.einsum("ij,ij->i", left[first], right[second], dtype=np.float64)
    named = rows.select(*_PAIR, "case", similarity=pl.Series(cosines), gold="gold")
    return GapSimilarities.validate(named.sort(GapSimilarities.primary_key()), cast=True)


def name_scores(
    rows: pl.DataFrame, model: str, set: str, fewest: int, confidence: float
) -> pl.DataFrame:
    """Correlate cosines with people's scores per direction, by Spearman, as MTEB does.

    The interval is Bonett and Wright's (2000), in closed form.

    Args:
        rows: `GapSimilarities`.
        model, set: names.
        fewest: pairs below which a correlation is marked.
        confidence: of the interval, in (0, 1).

    Returns:
        `GapScores` of `sts`.
    """
    from scipy.stats import norm

    scores = correlations(rows, model=model, set=set)
    value = scores["value"].clip(-1 + 1e-12, 1 - 1e-12).to_numpy()
    sized = np.maximum(scores["count"].to_numpy().astype(np.float64), FEWEST)
    spread = np.sqrt((1 + value**2 / 2) / (sized - 3)) * norm.ppf((1 + confidence) / 2)
    middle = np.arctanh(value)
    named = scores.select(
        "model", "set", *_NAMED, "value", low=pl.Series(np.tanh(middle - spread)),
        high=pl.Series(np.tanh(middle + spread)), flagged=pl.col("count") < fewest,
    )  # fmt: skip
    return GapScores.validate(named.sort(GapScores.primary_key()), cast=True)


def name_changes(
    rows: pl.DataFrame,
    before: pl.DataFrame,
    names: tuple[str, str],
    set: str,
    fewest: int,
    resampling: Resampling,
) -> pl.DataFrame:
    """Compare two models' correlations per direction; pairs of texts are drawn for the intervals.

    Args:
        rows, before: `GapSimilarities` of a model and of the reference, on the same set.
        names: of both.
        set: its name.
        fewest: pairs below which a change is marked.
        resampling: how the intervals are made.

    Returns:
        `GapChanges` of `sts`.
    """
    found = correlations(rows, before, model=names[0], set=set, resampling=resampling)
    named = found.select(
        "model", pl.lit(names[1]).alias("reference"), "set", *_NAMED, "low", "high",
        change="gain", flagged=pl.col("count") < fewest,
    ).select(GapChanges.column_names())  # fmt: skip
    return GapChanges.validate(named.sort(GapChanges.primary_key()), cast=True)
