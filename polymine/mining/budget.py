"""The rule `risk`: the hardest candidates within a budget of expected false negatives.

Hardness is worth its false negatives or not: at a price p a query takes its candidates by
score - p x risk. One price for all queries gives the hardest set for its expected number of false
negatives (a Lagrange multiplier), so the choice is a sort, and meeting the budget a search for p.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.notes import Choice, Point
from polymine.mining.risk import Array

HIGHEST_PRICE = 1e4  # a ten-thousandth of risk outweighs any cosine
STEPS = 20  # of the bisection: eight decades down to a price known by five digits
CURVE = 40  # points of a trade-off curve
BLOCK = 1 << 22  # places of a padded matrix, queries times candidates, at a time


@dataclass(frozen=True)
class Pool:
    """Open candidates of all queries, ordered by query, then score (best first), then document.

    Attributes:
        starts: where each query begins, with the end as last.
        scores, risks: shape (n,).
    """

    starts: NDArray[np.int64]
    scores: Array
    risks: Array

    @property
    def queries(self) -> int:
        """Number of queries, those without a candidate left aside."""
        return len(self.starts) - 1


def pool_of(candidates: pl.DataFrame, count: int) -> Pool:
    """Keep the candidates that some price may choose among the `count` of their query.

    Those with `count` others that are harder and less risky are left out: most of them, so that
    the candidates of very many queries fit into memory.

    Args:
        candidates: query_id, doc_id, score, risk of open candidates.
        count: negatives that a query takes at most.

    Returns:
        What is left, in the order that `Pool` names.
    """
    table = candidates.sort(
        "query_id", "score", "doc_id", descending=[False, True, False]
    ).with_columns(nth=pl.int_range(pl.len()).over("query_id"))
    scores, risks = table["score"].cast(pl.Float64).to_numpy(), table["risk"].cast(pl.Float64)
    starts = np.flatnonzero(table["nth"].to_numpy() == 0)
    pool = Pool(np.append(starts, len(table)), scores, risks.to_numpy())
    keep = _undominated(pool, count)
    kept = np.append(0, np.cumsum(keep))
    return Pool(kept[pool.starts], pool.scores[keep], pool.risks[keep])


def join(pools: list[Pool]) -> Pool:
    """Put pools of different queries together, in the order given."""
    if not pools:
        return Pool(np.zeros(1, dtype=np.int64), np.empty(0), np.empty(0))
    offsets = np.cumsum([0, *(len(pool.scores) for pool in pools)])
    starts = [pool.starts[:-1] + offset for pool, offset in zip(pools, offsets, strict=False)]
    return Pool(
        np.append(np.concatenate(starts), offsets[-1]),
        np.concatenate([pool.scores for pool in pools]),
        np.concatenate([pool.risks for pool in pools]),
    )


def _undominated(pool: Pool, count: int) -> NDArray[np.bool_]:
    """Mark candidates with fewer than `count` harder ones of at most their risk."""
    keep = np.zeros(len(pool.scores), dtype=np.bool_)
    sizes = np.diff(pool.starts)
    lowest = np.full((pool.queries, count), np.inf)  # the lowest risks so far
    for nth in range(int(sizes.max()) if len(sizes) else 0):
        has = np.flatnonzero(sizes > nth)
        rows = pool.starts[has] + nth
        worst = lowest[has].max(axis=1)
        good = pool.risks[rows] < worst
        keep[rows[good]] = True
        place = lowest[has[good]].argmax(axis=1)
        lowest[has[good], place] = pool.risks[rows[good]]
    return keep


def choose(pool: Pool, choice: Choice, count: int) -> NDArray[np.int64]:
    """Take the candidates of highest utility, score - price x risk.

    Args:
        choice: the price (Lagrange multiplier) and the highest risk that is taken at all.
        count: negatives that a query takes at most.

    Returns:
        Positions in the pool, ascending; a query has fewer where fewer are below the ceiling.
    """
    utility = pool.scores - choice.price * pool.risks
    utility[pool.risks > choice.ceiling] = -np.inf
    sizes = np.diff(pool.starts)
    width = max(int(sizes.max(initial=0)), count + 1)
    step, taken = max(BLOCK // width, 1), []
    for start in range(0, pool.queries, step):
        part = slice(start, start + step)
        rows = pool.starts[:-1][part, None] + np.arange(width)
        inside = np.arange(width) < sizes[part, None]
        matrix = np.where(inside, utility[np.minimum(rows, len(utility) - 1)], -np.inf)
        best = np.argpartition(-matrix, count, axis=1)[:, :count]
        chosen = np.take_along_axis(rows, best, 1)
        taken.append(chosen[np.isfinite(np.take_along_axis(matrix, best, 1))])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, dtype=np.int64)


def search(pool: Pool, count: int, budget: float, highest: float) -> Choice:
    """Find the lowest price at which the expected share of false negatives is within a budget.

    Where no price is high enough, the ceiling falls below `highest` instead, and queries end up
    with fewer than `count` negatives.

    Args:
        count: negatives that a query takes at most.
        budget: expected share of false negatives over the whole set, from 0 to 1.
        highest: risk above which nothing is taken at any price.

    Returns:
        Price and ceiling: price 0 where the hardest candidates keep the budget anyway.
    """
    free = Choice(0.0, highest)
    if expected_rate(pool, choose(pool, free, count)) <= budget:
        return free
    low, high = -4.0, np.log10(HIGHEST_PRICE)
    for _ in range(STEPS):
        middle = (low + high) / 2
        chosen = choose(pool, Choice(10**middle, highest), count)
        low, high = (low, middle) if expected_rate(pool, chosen) <= budget else (middle, high)
    choice = Choice(10**high, highest)
    chosen = choose(pool, choice, count)
    if expected_rate(pool, chosen) <= budget:
        return choice
    risks = np.sort(pool.risks[chosen])
    last = np.append(risks[1:] > risks[:-1], True)  # a ceiling lets in all of equal risk
    within = last & (np.cumsum(risks) / np.arange(1, len(risks) + 1) <= budget)
    return Choice(choice.price, float(risks[within][-1]) if within.any() else 0.0)


def expected_rate(pool: Pool, chosen: NDArray[np.int64]) -> float:
    """Expected share of false negatives among the chosen positions of a pool; 0 of nothing."""
    return float(np.sum(pool.risks[chosen])) / max(len(chosen), 1)


def trade_off(pool: Pool, count: int, highest: float) -> list[Point]:
    """Draw the curve of hardness against expected false negatives.

    Args:
        count: negatives that a query takes at most.
        highest: risk above which nothing is taken at any price.

    Returns:
        40 points by rising price: 0, then from 0.01 to 1000 on a logarithmic scale.
    """
    prices = [0.0, *np.geomspace(1e-2, 1e3, CURVE - 1)]
    return [describe(pool, Choice(float(price), highest), count) for price in prices]


def describe(pool: Pool, choice: Choice, count: int) -> Point:
    """Say what a choice gives.

    Args:
        count: negatives that a query should have.

    Returns:
        The price, the mean score of what is taken (0 of nothing), its expected share of false
        negatives, and the share of the wanted negatives that are found.
    """
    chosen = choose(pool, choice, count)
    wanted = max(pool.queries * count, 1)
    hardness = float(np.mean(pool.scores[chosen])) if len(chosen) else 0.0
    return Point(choice.price, hardness, expected_rate(pool, chosen), len(chosen) / wanted)


def apply_choice(candidates: pl.DataFrame, choice: Choice, count: int) -> pl.DataFrame:
    """Say of every open candidate in which order it is taken, or why it is not.

    The first `count` of a query are ordered by score, those that would follow by utility.

    Args:
        candidates: query_id, doc_id, score, risk and `reason`, not null for closed ones.

    Returns:
        The same with `order`, null for what is refused and for what is merely easier than needed;
        by query, then score (best first), then document.
    """
    open_ = pl.col("reason").is_null() & (pl.col("risk") <= choice.ceiling)
    utility = pl.col("score").cast(pl.Float64) - choice.price * pl.col("risk").cast(pl.Float64)
    table = candidates.sort("query_id", "score", "doc_id", descending=[False, True, False])
    table = table.with_columns(open=open_, utility=utility)
    ranked = table.filter("open").with_columns(
        nth=pl.col("utility").rank("ordinal", descending=True).over("query_id")
    )
    first = ranked.filter(pl.col("nth") <= count).with_columns(
        order=pl.int_range(1, pl.len() + 1).over("query_id")
    )
    later = ranked.filter(pl.col("nth") > count).with_columns(order=pl.col("nth"))
    orders = pl.concat([first, later], how="vertical_relaxed").select(
        "query_id", "doc_id", pl.col("order").cast(pl.UInt32)
    )
    lowest = first.group_by("query_id").agg(lowest=pl.min("score"), taken=pl.len())
    table = table.join(orders, on=["query_id", "doc_id"], how="left", maintain_order="left").join(
        lowest, on="query_id", how="left", maintain_order="left"
    )
    harder = (pl.col("score") >= pl.col("lowest")) | (pl.col("taken").fill_null(0) < count)
    refused = (
        pl.when(pl.col("reason").is_not_null())
        .then("reason")
        .when(~pl.col("open"))
        .then(pl.lit("risk: higher than any negative may have"))
        .when((pl.col("order") > count) & harder)
        .then(pl.lit("risk: too likely to be relevant for its hardness"))
    )
    return table.with_columns(reason=refused).select(*candidates.columns, "order")
