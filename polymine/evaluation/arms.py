"""Ways to train, or models, against each other: every pair, and which of them is best.

A gain over the base does not say which of two is better. So each pair is compared on the same
questions and seeds, and its p-value corrected for the number of pairs looked at (Holm 1979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import ceil
from typing import Any

import polars as pl

from polymine.data_contracts.learning import Differences
from polymine.evaluation.matrix import compare_seeds, overall
from polymine.evaluation.significance import Resampling, holm


def compare_pairs(scores: Mapping[str, Sequence[pl.DataFrame]], **options: Any) -> pl.DataFrame:
    """Compare every pair on one set, by its widest mean.

    Args:
        scores: name to `QueryScores` of each seed, the same seeds for all.
        options: of `compare_seeds`: questions, pivot, fewest, resampling.

    Returns:
        Columns of `Differences` without `adjusted`.
    """
    found = [_none()]
    for one, other in combinations(scores, 2):
        pair, arms = (scores[other], scores[one]), list(scores.values())
        rows = compare_seeds(*pair, name=one, arms=arms, **options)
        rows = overall(rows).with_columns(arm=pl.lit(one), reference=pl.lit(other))
        turned = rows.with_columns(
            arm="reference", reference="arm", gain=-pl.col("gain"), low=-pl.col("high"),
            high=-pl.col("low"),
        )  # fmt: skip
        both = pl.concat([rows.filter(pl.col("gain") >= 0), turned.filter(pl.col("gain") > 0)])
        found.append(both.select(found[0].columns))
    return pl.concat(found)


def adjust(pairs: pl.DataFrame) -> pl.DataFrame:
    """Correct for the number of pairs.

    Args:
        pairs: of `compare_pairs`, of all sets.

    Returns:
        `Differences`: corrected over all pairs and sets of a metric.
    """
    parts = [
        part.with_columns(adjusted=pl.Series(holm(part["p"].to_list()), dtype=pl.Float64))
        for _, part in pairs.group_by("metric", maintain_order=True)
    ]
    whole = pl.concat(parts) if parts else pairs.with_columns(adjusted=pl.lit(1.0))
    return Differences.validate(whole.select(Differences.column_names()), cast=True)


def enough_draws(resampling: Resampling, pairs: int) -> Resampling:
    """Draw so often that the smallest chance which draws can show passes Holm's correction.

    Args:
        resampling: as asked for.
        pairs: how many are compared, over all sets.

    Returns:
        The same with as many draws, or more.
    """
    fewest = ceil(4 * pairs / (1 - resampling.confidence))
    return replace(resampling, resamples=max(resampling.resamples, fewest))


def find_best(differences: pl.DataFrame, set: str, metric: str, confidence: float) -> list[str]:
    """Name the best, and what cannot be told apart from it.

    Args:
        differences: `Differences`.
        set, metric: to look at.
        confidence: that no pair is told apart by chance.

    Returns:
        The name with the highest mean, then those that are not surely below it, by their distance;
        one name if it is surely above all others, none if there are no pairs.
    """
    pairs = differences.filter(set=set, metric=metric)
    names = pl.concat([pairs["arm"], pairs["reference"]]).unique(maintain_order=True)
    above = pairs.filter(pl.col("gain") > 0)["reference"].unique().to_list()
    top = next((name for name in names if name not in above), None)
    if top is None:
        return []
    unsure = pl.col("adjusted") > 1 - confidence
    tied = (pl.col("arm") == top) | ((pl.col("reference") == top) & (pl.col("gain") == 0))
    near = pairs.filter(tied & unsure).sort("gain")
    others = pl.concat([near["reference"], near["arm"]]).unique(maintain_order=True)
    return [top, *(name for name in others if name != top)]


def _none() -> pl.DataFrame:
    names = [name for name in Differences.column_names() if name != "adjusted"]
    return Differences.create_empty().select(names)
