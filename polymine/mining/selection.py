"""Which candidates may be negatives, and in which order they are taken.

The rule `risk` is in `budget`; what it shares with the others is here. The five others are
NV-Retriever's (arXiv 2407.15831, section 3), all strict, with the ceiling of percent as
`pos - |pos| (1 - percent)`, which keeps its sense for negative scores.
"""

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Choice
from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.budget import Pool, apply_choice, join, pool_of
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.validator_evidence import PRECISE

CLOSED = "known positive: "  # what the reason of a closed candidate starts with
PROMOTED = "promoted: "  # what the reason of a promoted candidate starts with
SAFE = 0.02  # risk; a query should have enough candidates below it, whatever the budget is
VALIDATION_RESERVE = 4  # candidates per wanted negative that the validator may look at
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def compute_ceilings(positives: Frame, settings: SelectionSettings) -> Frame:
    """Turn the scores of known positives into one ceiling per query.

    Args:
        positives: query_id, score (contract Positives), of the primary teacher.

    Returns:
        query_id, positive_score, ceiling (float64, +inf where the rule has none), by query_id.
    """
    lowest = pl.min("score").cast(pl.Float32)
    scores = positives.group_by("query_id").agg(positive_score=lowest).sort("query_id")
    score = pl.col("positive_score").cast(pl.Float64)
    ceiling = {
        "risk": pl.lit(math.inf),
        "naive": pl.lit(math.inf),
        "shifted": pl.lit(math.inf),
        "absolute": pl.lit(settings.absolute),
        "margin": score - settings.margin,
        "percent": score - score.abs() * (1 - settings.percent),
    }[settings.rule]
    return scores.with_columns(ceiling=ceiling.cast(pl.Float64))


def compare_with_ceilings(
    evidence: pl.DataFrame, ceilings: pl.DataFrame, teacher: str, settings: SelectionSettings
) -> pl.DataFrame:
    """Give every candidate that is closed or not below its ceiling the reason why it is refused.

    Args:
        evidence: with the `risk` of every candidate.

    Returns:
        query_id, doc_id, score, positive_score, risk, `reason` (null where there is none), `place`,
        the query's row in `ceilings`; in the order given. Queries without a ceiling are left out.
    """
    candidates = evidence.select(
        "query_id", "doc_id", "closed", "risk", score=pl.col(f"score_{teacher}")
    ).join(ceilings.with_row_index("place"), on="query_id", maintain_order="left")
    reason = (
        pl.when(pl.col("closed").is_not_null())
        .then(pl.lit(CLOSED) + pl.col("closed"))
        .when(pl.col("score") >= pl.col("ceiling"))
        .then(pl.lit(f"{settings.rule}: at or above the ceiling"))
    )
    return candidates.with_columns(reason=reason).drop("closed", "ceiling")


def apply_rule(
    evidence: pl.DataFrame, ceilings: pl.DataFrame, teacher: str, settings: SelectionSettings
) -> pl.DataFrame:
    """Say of every candidate whether it passes, or why not.

    Args:
        ceilings: as from `compute_ceilings`, ordered by query_id.

    Returns:
        query_id, doc_id, score, positive_score, risk, validator_score (null so far) and `reason`,
        null for those that pass; ordered by
        query, then score (best first), then doc_id. Queries without a ceiling are left out.
    """
    # Sorted by row number instead of query_id: the same order at a fraction of the cost.
    decided = compare_with_ceilings(evidence, ceilings, teacher, settings).sort(
        "place", "score", "doc_id", descending=[False, True, False]
    )
    if settings.rule == "shifted":
        passed = pl.col("reason").is_null()
        nth = passed.cum_sum().over("query_id")
        shifted = pl.lit(f"shifted: among the {settings.shift} best")
        decided = decided.with_columns(
            reason=pl.when(passed & (nth <= settings.shift)).then(shifted).otherwise("reason")
        )
    return decided.select(
        "query_id", "doc_id", "score", "positive_score", "risk",
        pl.lit(None, pl.Float32).alias("validator_score"), "reason",
    )  # fmt: skip


def order_survivors(decided: pl.DataFrame, settings: SelectionSettings, seed: int) -> pl.DataFrame:
    """Put the candidates that pass into the order in which they are taken.

    Sampling draws from each query's `pool` hardest; those behind follow, hardest first, in case
    the validator turns the drawn ones down. The draw depends on seed, query and document alone.

    Args:
        decided: as from `apply_rule`, each query's hardest candidates first.

    Returns:
        The columns of `decided` without `reason`, and order (from 1 per query).
    """
    passed = decided.filter(pl.col("reason").is_null()).drop("reason")
    nth = pl.int_range(pl.len()).over("query_id")
    passed = passed.with_columns(nth=nth)
    if settings.sampling != "top":
        key = pl.when(pl.col("nth") < settings.pool).then(_draw(passed, settings, seed))
        passed = passed.with_columns(key=key.otherwise(math.inf)).sort("query_id", "key", "nth")
    order = pl.int_range(1, pl.len() + 1).over("query_id").cast(pl.UInt32)
    return passed.with_columns(order=order).drop("nth", "key", strict=False)


def order_within_budget(
    decided: pl.DataFrame, choice: Choice, settings: SelectionSettings, negatives: int, seed: int
) -> pl.DataFrame:
    """Apply the rule `risk` to candidates that are not closed.

    Sampling draws from the `pool` candidates the price chooses, so the budget holds on average.

    Args:
        decided: as from `apply_rule`.

    Returns:
        The same with `order`, null for what is refused (with its reason) or merely not needed.
    """
    ordered = apply_choice(decided, choice, count_priced(settings, negatives))
    if settings.sampling == "top":
        return ordered
    passed = ordered.filter(pl.col("order").is_not_null() & pl.col("reason").is_null())
    drawn = order_survivors(passed.drop("order").with_columns(reason=None), settings, seed)
    orders = drawn.select("query_id", "doc_id", "order")
    return ordered.drop("order").join(
        orders, on=["query_id", "doc_id"], how="left", maintain_order="left"
    )


def pool_decided(decided: Iterable[pl.DataFrame], count: int) -> Pool:
    """Put together the candidates of all parts that some price may choose.

    Args:
        decided: parts of the set, by queries, as from `apply_rule`.
        count: candidates each query takes.

    Returns:
        One pool in float64, in the order of the parts.
    """
    return join([pool_of(part.filter(pl.col("reason").is_null()), count) for part in decided])


def limit_depth(
    compared: pl.DataFrame,
    evidence: pl.DataFrame,
    ceilings: pl.DataFrame,
    teacher: str,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Under the rule `risk`, look deeper for queries that have too few candidates of little risk.

    Args:
        compared: as from `compare_with_ceilings`.
        evidence: the same rows in the same order, with `rank_*` of the primary teacher.

    Returns:
        `compared` with a reason for what is not safe, and ceilings just below what was ranked.
    """
    risky = pl.col("reason").is_null() & (pl.col("risk") > SAFE)
    reason = pl.when(risky).then(pl.lit("risk")).otherwise("reason")
    ranked = evidence.filter(pl.col(f"rank_{teacher}").is_not_null())
    lowest = ranked.group_by("query_id").agg(lowest=pl.min(f"score_{teacher}").cast(pl.Float64))
    limits = ceilings.join(lowest, on="query_id", how="left", maintain_order="left")
    limits = limits.with_columns(ceiling=pl.coalesce("lowest", "ceiling")).drop("lowest")
    return compared.with_columns(reason=reason), limits


def count_priced(settings: SelectionSettings, negatives: int) -> int:
    """Count the candidates per query that the budget has to hold for.

    Args:
        settings: say whether negatives are drawn, and from how many.
        negatives: wanted per query.

    Returns:
        All that sampling may draw.
    """
    return negatives if settings.sampling == "top" else max(settings.pool, negatives)


def promote(
    decided: pl.DataFrame, labels: pl.DataFrame, promotions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Give what is relevant by a label, or precise enough by its risk, the reason of its promotion.

    Args:
        decided: query_id, doc_id, reason and, with a validator that counts, whether it `agrees`:
            null for what it has not read.
        labels: query_id, doc_id of pairs that a labelled file calls relevant.
        promotions: contract Promotions; none if left out.

    Returns:
        `decided` in its order, without `agrees`. What closes with a promoted candidate is refused.
    """
    labelled = labels.select("query_id", "doc_id", labelled=pl.lit(value=True))
    if promotions is None:
        promotions = pl.DataFrame(schema={**labels.select("query_id", "doc_id").schema,
                                          "precision": pl.Float32})  # fmt: skip
    listed = promotions.with_columns(listed=pl.lit(value=True))
    if "agrees" not in decided.columns:
        decided = decided.with_columns(agrees=pl.lit(None, pl.Boolean))
    table = decided
    for part in (labelled, listed):
        table = table.join(part, on=["query_id", "doc_id"], how="left", maintain_order="left")
    by_label = (pl.col("reason") == f"{CLOSED}labelled") & pl.col("labelled")
    listed_ones = pl.col("reason").is_null() & pl.col("listed")
    reason = (
        pl.when(by_label)
        .then(pl.lit(f"{PROMOTED}relevant by a label"))
        .when(listed_ones & pl.col("precision").is_null())
        .then(pl.lit(f"{CLOSED}promoted"))
        .when(listed_ones & pl.col("agrees"))
        .then(pl.lit(f"{PROMOTED}risk and validator agree"))
        .when(listed_ones & pl.col("agrees").is_null())
        .then(pl.lit(PRECISE))
        .when(listed_ones)
        .then(pl.lit("risk: promoted if the validator agreed"))
        .otherwise("reason")
    )
    return table.with_columns(reason=reason).drop("labelled", "listed", "precision", "agrees")


def _draw(passed: pl.DataFrame, settings: SelectionSettings, seed: int) -> pl.Series:
    """Sort keys, lowest first: sampling without replacement."""
    numbers = uniform(seed, hash_texts(passed["query_id"]), hash_texts(passed["doc_id"]))
    if settings.sampling == "softmax":
        # Gumbel's trick: the k largest of score / T + noise are a softmax draw without replacement.
        gumbel = -np.log(-np.log(numbers))
        numbers = -(passed["score"].to_numpy() / settings.temperature + gumbel)
    if settings.sampling == "top1_sampled":
        numbers = np.where(passed["nth"].to_numpy() == 0, -1.0, numbers)
    return pl.Series(numbers)


def count_needed(mining: MiningSettings) -> int:
    """Count the passing candidates a query should have at hand.

    Returns:
        As many as sampling draws from, and four times the negatives for a validator, which turns
        some down (not under the rule `risk`, where it reads a fixed number).
    """
    needed = count_handed(mining)
    if mining.selection.sampling != "top":
        needed = max(needed, mining.selection.pool)
    return needed


def count_handed(mining: MiningSettings) -> int:
    """Candidates of a query that may become its negatives: more than it takes for a validator."""
    listens = mining.validation is not None and mining.selection.rule != "risk"
    return mining.negatives * (VALIDATION_RESERVE if listens else 1)


def count_searched(mining: MiningSettings) -> int:
    """Count the candidates to fetch below a ceiling.

    Args:
        mining: its rule and what it samples from.

    Returns:
        Those needed per query, and those that `shifted` passes over.
    """
    shift = mining.selection.shift if mining.selection.rule == "shifted" else 0
    return count_needed(mining) + shift


def find_short(
    decided: pl.DataFrame, ceilings: pl.DataFrame, queries: pl.Series, needed: int
) -> pl.DataFrame:
    """List the queries that have too few candidates without a reason.

    Args:
        decided: query_id, reason.
        ceilings: query_id, ceiling; queries without one cannot be short.
        queries: the query_ids in question.
        needed: candidates that each should have.

    Returns:
        query_id, ceiling, by query_id.
    """
    passing = decided.filter(pl.col("reason").is_null()).group_by("query_id").agg(passing=pl.len())
    return (
        ceilings.join(queries.to_frame("query_id"), on="query_id", how="semi")
        .join(passing, on="query_id", how="left")
        .filter(pl.col("passing").fill_null(0) < needed)
        .select("query_id", "ceiling")
        .sort("query_id")
    )
