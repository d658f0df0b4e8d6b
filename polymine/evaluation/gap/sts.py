"""Semantic similarity against people's scores, per pair of languages, with its number of pairs."""

import numpy as np
import polars as pl

from polymine.data_contracts.gap import GapScores
from polymine.evaluation.gap.parallel import Vectors

STS = "sts"
FEWEST = 4  # pairs below which the interval has no width
_SCHEMA = {
    "document_language": pl.String, "query_language": pl.String, "metric": pl.String,
    "count": pl.UInt32, "value": pl.Float64,
}  # fmt: skip


def cross_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pair texts across languages wherever the same pair is there in several.

    A first text in one language and a second one in another have the score that people gave to the
    pair, if both languages' rows agree on it: so a set that was translated as a whole measures
    every direction.

    Args:
        pairs: of `similarity_set`; rows of one `group_id` are versions of a pair.

    Returns:
        language_a, language_b, gold, left, right: rows of `pairs` whose first and second text it
        is.
    """
    rows = pairs.with_row_index("row")
    left = rows.select("group_id", "gold", "language_a", left="row")
    right = rows.select("group_id", "gold", "language_b", right="row")
    joined = left.join(right, on=["group_id", "gold"]).sort("left", "right")
    key = ["group_id", "language_a", "language_b"]
    named = joined.join(rows.select("row", "group_id"), left_on="left", right_on="row")
    return named.unique(key, keep="first", maintain_order=True).drop("group_id")


def similarity_scores(crossed: pl.DataFrame, left: Vectors, right: Vectors) -> pl.DataFrame:
    """Correlate cosines with people's scores, by Spearman, as MTEB does.

    Args:
        crossed: of `cross_pairs`.
        left, right: unit vectors (n, d) of first and second texts, in the order of the pairs' rows.

    Returns:
        document_language (of the first texts), query_language, metric (`sts`), count, value. A pair
        of languages with fewer than four pairs, or one score, has no row.
    """
    from scipy.stats import spearmanr

    found = []
    for (a, b), part in crossed.group_by("language_a", "language_b", maintain_order=True):
        first, second = part["left"].to_numpy(), part["right"].to_numpy()
        cosines = np.einsum("ij,ij->i", left[first], right[second], dtype=np.float64)
        gold = part["gold"].to_numpy()
        if len(gold) >= FEWEST and np.ptp(gold) > 0:
            # a model whose cosines are all equal orders nothing
            value = float(spearmanr(cosines, gold).statistic) if np.ptp(cosines) > 0 else 0.0
            found.append((a, b, STS, len(gold), value))
    return pl.DataFrame(found, _SCHEMA, orient="row")


def name_scores(
    scores: pl.DataFrame, model: str, set: str, fewest: int, confidence: float
) -> pl.DataFrame:
    """Put an interval around correlations: Bonett and Wright's (2000), in closed form.

    Args:
        scores: of `similarity_scores`, or of `mteb_scores` of a task of similarity.
        model, set: names.
        fewest: pairs below which a correlation is marked.
        confidence: of the interval, in (0, 1).

    Returns:
        `GapScores` of `sts`.
    """
    from scipy.stats import norm

    value = scores["value"].clip(-1 + 1e-12, 1 - 1e-12).to_numpy()
    sized = np.maximum(scores["count"].to_numpy().astype(np.float64), FEWEST)
    spread = np.sqrt((1 + value**2 / 2) / (sized - 3)) * norm.ppf((1 + confidence) / 2)
    middle = np.arctanh(value)
    named = scores.select(
        model=pl.lit(model), set=pl.lit(set), measure=pl.lit(STS),
        language_a="document_language", language_b="query_language", count="count", value="value",
        low=pl.Series(np.tanh(middle - spread)), high=pl.Series(np.tanh(middle + spread)),
        flagged=pl.col("count") < fewest,
    )  # fmt: skip
    return GapScores.validate(named.sort(GapScores.primary_key()), cast=True)
