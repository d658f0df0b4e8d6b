"""What the report says of the risk: expected false negatives, what there was to choose, and why.

Expected rates are means of the candidates' risks, which is what the budget is held against. Their
interval has the width that leaving out each judged collection in turn showed (`rate_spread`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from polymine.data_contracts.risk import RiskModel
from polymine.mining.budget import Choice, Point
from polymine.mining.risk import FEATURES, sigmoid
from polymine.reporting.mining.tables import Tables

BUDGETS = (0.005, 0.01, 0.02, 0.05, 0.1)  # offered in a table beside the curve
CONFIDENT = 1.96  # standard deviations on either side: 95 of 100 data sets

Origin = Literal["measured", "set", "untested"]  # of the trust in a validator

ABOUT = {
    "query": "how the candidate stands for this query among all passages, by dense teachers",
    "document": "how this query stands for the candidate among all queries, by dense teachers",
    "positive": "how near the candidate is to a known positive, among all passages",
    "gap": "how far the candidate stands above the lowest known positive, by dense teachers",
    "feedback": "how near it is to the middle of query, known positives and the five likeliest",
    "words": "words in common with the query (BM25), among all passages",
    "positive_words": "words in common with a known positive (BM25), among all passages",
}


@dataclass(frozen=True)
class Kept:
    """Negatives that were kept: how likely relevant they are, how hard, what share of all wanted.

    `rate` is None where no negative has a risk.
    """

    count: int
    rate: float | None
    hardness: float | None
    found: float


def plan_kept(tables: Tables) -> pl.LazyFrame:
    """Plan the means over the kept negatives."""
    risk, score = (pl.col(name).cast(pl.Float64).mean() for name in ("risk", "score"))
    return tables.kept.select(pl.len(), rate=risk, hardness=score)


def finish_kept(counted: pl.DataFrame, wanted: int) -> Kept:
    """Name what was counted."""
    count, rate, hardness = counted.row(0)
    return Kept(count, rate, hardness, count / max(wanted, 1))


@dataclass(frozen=True)
class Looked:
    """What the validator's look at some pairs changed, under the rule `risk`.

    `origin` says where the trust in it comes from. `moved` is the mean absolute change of their
    risk; `dropped` were negatives before and are none now, `taken` the other way round, among all
    candidates.
    """

    pairs: int
    trust: float
    origin: Origin
    moved: float
    dropped: int
    taken: int
    promoted: int


@dataclass(frozen=True)
class RiskData:
    """What the report is told of the risk.

    Args:
        fitted: whether the settings asked for a fit to the data at hand.
        asked_validator: whether the validator labelled a sample for it.
        budget, choice, chosen, curve: under the rule `risk` only.
        looked: with a validator under the rule `risk` only.
    """

    model: RiskModel
    kept: Kept
    fitted: bool
    asked_validator: bool = False
    budget: float | None = None
    choice: Choice | None = None
    chosen: Point | None = None
    curve: tuple[Point, ...] = ()
    looked: Looked | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the true rate lies for 95 of 100 data sets, if it is as it was with those judged.

        None where nothing is known of the rate.
        """
        return around(self.kept.rate, self.model.rate_spread) if self.kept.rate else None


def around(rate: float, spread: float) -> tuple[float, float]:
    """Interval around an expected rate whose logarithm has this standard deviation."""
    factor = math.exp(CONFIDENT * spread)
    return rate / factor, min(rate * factor, 1.0)


@dataclass(frozen=True)
class Offer:
    """A budget and what it would buy.

    `hardness` is None where no such set exists; `free` says that no candidate costs too much.
    """

    budget: float
    hardness: float | None
    free: bool
    taken: bool

    @property
    def override(self) -> str:
        """What to put on the command line."""
        return f"--set mining.selection.max_false_negative_rate={self.budget:g}"


def offer_budgets(data: RiskData) -> list[Offer]:
    """Read off the curve how hard the negatives of some budgets are."""
    if data.budget is None:
        return []
    most = max((point.expected for point in data.curve), default=0.0)
    return [
        Offer(budget, hardness_at(data.curve, budget), budget >= most, budget == data.budget)
        for budget in sorted({*BUDGETS, data.budget})
    ]


def hardness_at(curve: Sequence[Point], budget: float) -> float | None:
    """Hardness at an expected rate, between the two nearest points; None below the lowest rate."""
    points = sorted(curve, key=lambda point: point.expected)
    if not points or budget < points[0].expected:
        return None
    if budget >= points[-1].expected:
        return max(point.hardness for point in points)
    after = next(at for at, point in enumerate(points) if point.expected > budget)
    low, high = points[after - 1], points[after]
    share = (budget - low.expected) / (high.expected - low.expected)
    return low.hardness + share * (high.hardness - low.hardness)


def odds(shift: float) -> float:
    """What a shift of the log-odds multiplies the odds with."""
    return math.exp(shift)


@dataclass(frozen=True)
class Weight:
    """One kind of evidence: its weight for candidates in the query's language, and in others."""

    feature: str
    about: str
    weight: float
    spread: float
    foreign: float | None

    @property
    def factor(self) -> float:
        """What one deviation more multiplies the odds of being relevant with."""
        return odds(self.weight)


def list_weights(model: RiskModel) -> list[Weight]:
    """Put the weights into the order of the features, with what they are of."""
    same, other = model.full["same"], model.full["foreign"]
    foreign = dict(zip(other.features, other.weights, strict=True))
    own = dict(zip(same.features, zip(same.weights, same.spreads, strict=True), strict=True))
    return [
        Weight(name.replace("_", "\u00a0"), ABOUT[name], *own[name], foreign.get(name))
        for name in FEATURES
        if name in own
    ]


def typical_risk(model: RiskModel) -> float:
    """Risk of a candidate whose evidence is all average."""
    return float(sigmoid(model.full["same"].intercept))  # type: ignore[arg-type]


def compare_looks(
    looks: pl.LazyFrame,
    risks: pl.LazyFrame,
    before: pl.LazyFrame,
    negatives: pl.LazyFrame,
    wanted: int,
    trust: float,
    origin: Origin,
) -> Looked:
    """Count what the validator changed.

    Args:
        looks: contract SecondLooks.
        risks: contract Risks, before the validator was asked.
        before: contract Decisions, without the validator's looks.
        negatives: contract Negatives, the run's result.
    """
    keys = ["query_id", "doc_id"]
    seen = looks.select(*keys, after="risk").join(risks, on=keys, how="left")
    then = before.filter(pl.col("order") <= wanted).select(keys)
    verdict = pl.col("verdict").cast(pl.String)
    now = negatives.filter(verdict == "negative").select(keys)
    counted = pl.collect_all(
        [
            seen.select(pl.len(), moved=(pl.col("after") - pl.col("risk")).abs().mean()),
            then.join(now, on=keys, how="anti").select(pl.len()),
            now.join(then, on=keys, how="anti").select(pl.len()),
            negatives.filter(verdict == "promoted").select(pl.len()),
        ]
    )
    pairs, moved = counted[0].row(0)
    dropped, taken, promoted = (frame.item() for frame in counted[1:])
    return Looked(pairs, trust, origin, moved or 0.0, dropped, taken, promoted)
