"""What the report says of the risk: expected false negatives, what there was to choose, and why.

Expected rates are means of the candidates' risks, which is what the budget is held against. Their
interval has the width that leaving out each judged collection in turn showed (`rate_spread`).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Choice, Point, Precision, Promotion
from polymine.data_contracts.risk import RiskModel
from polymine.mining.precision import FEWEST_PAIRS, FEWEST_QUERIES, LEAST_RISK, expect_right
from polymine.mining.risk import FEATURES, sigmoid
from polymine.mining.validator_evidence import PROMOTING_WEIGHT

BUDGETS = (0.005, 0.01, 0.02, 0.05, 0.1)  # offered in a table beside the curve
CONFIDENT = 1.96  # standard deviations on either side: 95 of 100 data sets

RISKS_SHOWN = (0.3, 0.5, 0.7, 0.9)

SOURCES = ("known positives", "hidden positives", "labels")  # of a fit, by name
BANDS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)  # of risk, in which labelled pairs are counted
EVERYTHING = 0.99  # share of what the curve finds that counts as all of it


@dataclass(frozen=True)
class Kept:
    """Negatives that were kept: how likely relevant they are, how hard, what share of all wanted.

    `rate` is None where no negative has a risk.
    """

    count: int
    rate: float | None
    hardness: float | None
    found: float


@dataclass(frozen=True)
class ValidatorUpdate:
    """What the validator's evidence on some pairs changed, under the rule `risk`.

    `weight` is how much it counts beside the other evidence. `moved` is the mean absolute change of
    their risk; `dropped` were negatives before and are none now, `taken` the other way round, among
    all candidates.
    """

    pairs: int
    weight: float
    moved: float
    dropped: int
    taken: int
    promoted: int
    least_weight: float = PROMOTING_WEIGHT

    @property
    def promotes(self) -> bool:
        """Whether it counts enough to make a candidate a positive."""
        return self.weight >= self.least_weight


class Checked(NamedTuple):
    """Labelled pairs whose risk lay in a band: how many, expected and found to be relevant."""

    low: float
    high: float
    pairs: int
    expected: float
    right: int


class FittedTo(NamedTuple):
    """How many pairs of each kind the weights were fitted to; `others` by name."""

    known: int
    hidden: int
    labels: int
    others: dict[str, int]


@dataclass(frozen=True)
class RiskData:
    """What the report is told of the risk.

    Args:
        fitted: whether the settings asked for a fit to the data at hand.
        budget, choice, chosen, curve: under the rule `risk` only.
        labelled: the risk of people's labels, as if nobody had labelled them; None without any.
        positive_budget, promotion: under the rule `risk`, where anything may be promoted.
        update: with a validator under the rule `risk` only.
        unmarked: candidates in another language than their query's that are likelier right than
            not, of so many queries; where nothing is promoted.
    """

    model: RiskModel
    kept: Kept
    fitted: bool
    budget: float | None = None
    choice: Choice | None = None
    chosen: Point | None = None
    curve: tuple[Point, ...] = ()
    update: ValidatorUpdate | None = None
    labelled: tuple[Checked, ...] | None = None
    positive_budget: float = 0.0
    promotion: Promotion | None = None
    unmarked: tuple[int, int] = (0, 0)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Bound the true rate of false negatives.

        Returns:
            Where it lies for 95 of 100 data sets, if it is as it was with those judged; None where
            nothing is known of the rate.
        """
        rate = self.kept.rate
        return (rate / self.factor, min(rate * self.factor, 1.0)) if rate else None

    @property
    def factor(self) -> float:
        """The factor within which an expected rate is right on 95 of 100 data sets."""
        return math.exp(CONFIDENT * self.model.rate_spread)

    @property
    def starved(self) -> bool:
        """Whether the budget left queries without negatives that a larger one would find."""
        chosen = self.chosen.found if self.chosen else 0.0
        return bool(self.curve) and chosen < EVERYTHING * self.curve[-1].found

    @property
    def fitted_to(self) -> FittedTo:
        """What the weights were fitted to."""
        counts = {source.name: source.pairs for source in self.model.sources}
        known, hidden, labels = (counts.pop(name, 0) for name in SOURCES)
        return FittedTo(known, hidden, labels, counts)

    @property
    def needed(self) -> dict[str, float]:
        """What it takes to know how precise the risk is."""
        return {"pairs": FEWEST_PAIRS, "queries": FEWEST_QUERIES, "least": LEAST_RISK}

    @property
    def precisions(self) -> list[tuple[Precision, list[float]]]:
        """What is known of each kind of pairs, and how often RISKS_SHOWN turn out to be right."""
        known = self.promotion.precisions if self.promotion else ()
        return [(each, expect_right(np.array(RISKS_SHOWN), each).tolist()) for each in known]

    @property
    def risks_shown(self) -> tuple[float, ...]:
        """Risks that are told of."""
        return RISKS_SHOWN

    def to_manifest(self) -> dict[str, Any]:
        """What is expected and what there was to choose, as the output's manifest says it."""
        return {
            "expected_rate": self.kept.rate,
            "interval": self.interval,
            "hardness": self.kept.hardness,
            "yield": self.kept.found,
            "budget": self.budget,
            "choice": asdict(self.choice) if self.choice else None,
            "curve": [asdict(point) for point in self.curve],
            "validator": asdict(self.update) if self.update else None,
            "promotion": self.promotion.model_dump(mode="json") if self.promotion else None,
            "fitted_on": {source.name: source.pairs for source in self.model.sources},
        }


def count_labelled(pairs: pl.DataFrame) -> tuple[Checked, ...] | None:
    """Count what labels say of each band of risk.

    Args:
        pairs: risk and `right`, of labelled pairs.
    """
    risk = pl.col("risk").cast(pl.Float64)
    counted = (
        pairs.with_columns(band=risk.cut(list(BANDS[1:-1]), labels=list(map(str, BANDS[:-1]))))
        .group_by(pl.col("band").cast(pl.String).cast(pl.Float64))
        .agg(pl.len(), expected=risk.sum(), right=pl.col("right").sum())
        .sort("band")
    )
    above = dict(pairwise(BANDS))
    found = tuple(Checked(low, above[low], *counts) for low, *counts in counted.rows())
    return found or None


class Offer(NamedTuple):
    """A budget and what it would buy.

    `hardness` is None where no such set exists; `free` says that no candidate costs too much.
    """

    budget: float
    hardness: float | None
    free: bool
    taken: bool


def offer_budgets(data: RiskData) -> list[Offer]:
    """Read off the curve how hard the negatives of `BUDGETS` and the run's own are, ascending."""
    if data.budget is None:
        return []
    most = max((point.expected for point in data.curve), default=0.0)
    return [
        Offer(budget, hardness_at(data.curve, budget), budget >= most, budget == data.budget)
        for budget in sorted({*BUDGETS, data.budget})
    ]


def hardness_at(curve: Sequence[Point], budget: float) -> float | None:
    """Interpolate the mean score at a budget: the highest above all points, None below."""
    points = sorted((point.expected, point.hardness) for point in curve)
    if not points or budget < points[0][0]:
        return None
    if budget >= points[-1][0]:
        return max(hardness for _, hardness in points)
    rates, hardness_of = zip(*points, strict=True)
    return float(np.interp(budget, rates, hardness_of))


class Weight(NamedTuple):
    """One kind of evidence: its weight for candidates in the query's language, and in others."""

    feature: str
    weight: float
    spread: float
    foreign: float | None


def list_weights(model: RiskModel) -> list[Weight]:
    """Put the weights into the order of the features."""
    same, other = model.full["same"], model.full["foreign"]
    foreign = dict(zip(other.features, other.weights, strict=True))
    own = dict(zip(same.features, zip(same.weights, same.spreads, strict=True), strict=True))
    return [Weight(name, *own[name], foreign.get(name)) for name in FEATURES if name in own]


def typical_risk(model: RiskModel) -> float:
    """Risk of a candidate whose evidence is all average."""
    return float(sigmoid(model.full["same"].intercept))  # type: ignore[arg-type]


def compare_update(
    evidence: pl.LazyFrame,
    risks: pl.LazyFrame,
    before: pl.LazyFrame,
    negatives: pl.LazyFrame,
    wanted: int,
    weight: float,
) -> ValidatorUpdate:
    """Count what the validator changed.

    Args:
        evidence: contract ValidatorEvidence.
        risks: contract Risks, before the validator was asked.
        before: contract Decisions, without the validator's evidence.
        negatives: contract Negatives, the run's result.
        wanted: negatives per query.
        weight: of the validator beside the other evidence, from 0 to 2.
    """
    keys = ["query_id", "doc_id"]
    seen = evidence.select(*keys, after="risk").join(risks, on=keys, how="left")
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
    return ValidatorUpdate(pairs, weight, moved or 0.0, dropped, taken, promoted)
