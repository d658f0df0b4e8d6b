"""How precise a risk is: how often candidates of such a risk turn out to be relevant.

The risk ranks candidates well, but its height fails: of those it gave a half or more, .95 were
relevant in one collection and .42 in another, and nothing unlabelled tells which. Pairs of known
truth do, whose risk was estimated as if it were not known. A line goes through their log-odds
(Platt 1999); the errors of its two numbers say how much less to expect to be on the safe side.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.notes import Precision, PromotionSource
from polymine.data_contracts.risk import Linear
from polymine.mining.likelihoods import DECIMALS, labelled_pairs, solve
from polymine.mining.risk import Array, sigmoid

LEAST_RISK = 0.2  # what lies below is promoted at no budget, and calibrates nothing
LEAST_PRECISION = 0.5  # nothing that is likelier wrong than right is promoted at any budget
FEWEST_PAIRS = 50  # of known truth from which they say how precise a risk is
FEWEST_HIDDEN = 5  # of them hidden positives, where these are the right ones
CAUTION = 1.28  # standard deviations: nine of ten such data sets are at least as precise
INTERCEPT_SPREAD, SLOPE_SPREAD = 1.5, 0.5  # how far collections lie from what the risk says
PAIR_SPREAD = 0.5  # how far a pair of languages lies from all of its kind
KINDS = ("same", "foreign")  # candidates in the language of their query, or not
SETTLED = 1e-6  # log-odds are taken of risks at least so far from 0 and 1


def fit_precisions(pairs: pl.DataFrame, source: PromotionSource) -> tuple[Precision, ...]:
    """Learn how precise the risk is, for each kind of language pair and each pair with enough.

    Args:
        pairs: query_id, kind (`same` or `foreign`), languages (`ru-en`: document, query), risk,
            right (bool): pairs of known truth, with their risk as if it were not known.
        source: where they come from.

    Returns:
        Kinds before language pairs, sorted; none of a kind with fewer than FEWEST_PAIRS pairs of at
        least LEAST_RISK, or fewer than FEWEST_HIDDEN hidden positives where these are needed.
    """
    found: list[Precision] = []
    likely = pairs.filter(pl.col("risk") >= LEAST_RISK).sort(pairs.columns)  # sums in one order
    for kind in KINDS:
        of_kind = likely.filter(kind=kind)
        if not _enough(of_kind, source):
            continue
        centre = round(float(_log_odds(of_kind["risk"].to_numpy()).mean()), DECIMALS)
        prior = _line(centre, 1.0, INTERCEPT_SPREAD, SLOPE_SPREAD, centre)
        whole = _fit(of_kind, prior, kind, source)
        found.append(whole)
        names = of_kind["languages"].unique().sort()
        for name in names if len(names) > 1 else []:
            part = of_kind.filter(languages=name)
            if _enough(part, source):
                start = _line(whole.intercept, whole.slope, PAIR_SPREAD, SLOPE_SPREAD / 2, centre)
                found.append(_fit(part, start, name, source))
    return tuple(sorted(found, key=lambda each: (each.pair not in KINDS, each.pair)))


def _enough(pairs: pl.DataFrame, source: PromotionSource) -> bool:
    """Whether they say anything; of labels all may be right, and that says much."""
    hidden = source == "labels" or pairs["right"].sum() >= FEWEST_HIDDEN
    return len(pairs) >= FEWEST_PAIRS and bool(hidden)


def _line(
    intercept: float, slope: float, intercept_spread: float, slope_spread: float, centre: float
) -> Linear:
    return Linear(
        features=("risk",), centres=(centre,), weights=(slope,), spreads=(slope_spread,),
        intercept=intercept, intercept_spread=intercept_spread,
    )  # fmt: skip


def _fit(pairs: pl.DataFrame, start: Linear, name: str, source: PromotionSource) -> Precision:
    """Fit a line; its errors allow for pairs of one query that err together (sandwich)."""
    odds = (_log_odds(pairs["risk"].to_numpy()) - start.centres[0])[:, None]
    right = pairs["right"].cast(pl.Float64).to_numpy()
    fitted = solve(start, [labelled_pairs(odds, right)])
    errors = right - sigmoid(fitted.intercept + odds[:, 0] * fitted.weights[0])
    of_query = np.bincount(pairs["query_id"].rank("dense").cast(pl.Int64), weights=errors)
    wider = max(float(np.sum(of_query**2)) / max(float(np.sum(errors**2)), 1e-9), 1.0) ** 0.5
    spreads = (
        (fitted.intercept_spread, start.intercept_spread), (fitted.spreads[0], start.spreads[0])
    )  # fmt: skip
    wide = [round(min(found * wider, before), DECIMALS) for found, before in spreads]
    return Precision(
        pair=name, source=source, pairs=len(pairs), right=int(right.sum()),
        queries=pairs["query_id"].n_unique(), centre=start.centres[0], intercept=fitted.intercept,
        slope=fitted.weights[0], intercept_spread=wide[0], slope_spread=wide[1],
    )  # fmt: skip


def expect_right(risks: Array, precision: Precision, caution: float = 0.0) -> Array:
    """Say how likely candidates are right by their risk.

    Args:
        risks: (n,).
        precision: of their pair of languages.
        caution: standard deviations by which to expect less.

    Returns:
        Probabilities, (n,), that never fall with the risk.
    """
    away = _log_odds(risks) - precision.centre
    sides = np.sign(away) * caution * precision.slope_spread
    slope = np.maximum(precision.slope - sides, 0.0)
    lower = precision.intercept - caution * precision.intercept_spread
    return sigmoid(lower + slope * away)


def _log_odds(risks: Array) -> Array:
    inside = np.clip(risks.astype(np.float64), SETTLED, 1 - SETTLED)
    return np.asarray(np.log(inside / (1 - inside)))


def choose_precision(
    kinds: pl.Series, languages: pl.Series, precisions: Sequence[Precision]
) -> NDArray[np.int64]:
    """Find which precision is each candidate's: that of its languages, else of its kind.

    Args:
        kinds, languages: of the candidates, as in `fit_precisions`, (n,) each.

    Returns:
        Places in `precisions`, (n,); -1 where there is none.
    """
    places = {each.pair: place for place, each in enumerate(precisions)}
    own, of_kind = (
        names.replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy()
        for names in (languages, kinds)
    )
    return np.where(own >= 0, own, of_kind)


def assess(candidates: pl.DataFrame, precisions: Sequence[Precision]) -> pl.DataFrame:
    """Say how likely each candidate is right.

    Args:
        candidates: kind, languages, risk and more.

    Returns:
        Those of at least LEAST_RISK whose languages have a precision, in their order, with
        `precision`, cautious `lower`, and the `source` of both.
    """
    likely = candidates.filter(pl.col("risk") >= LEAST_RISK)
    place = choose_precision(likely["kind"], likely["languages"], precisions)
    risks = likely["risk"].cast(pl.Float64).to_numpy()
    columns = {"precision": np.full(len(likely), np.nan), "lower": np.full(len(likely), np.nan)}
    for number, each in enumerate(precisions):
        rows = place == number
        for name, caution in (("precision", 0.0), ("lower", CAUTION)):
            columns[name][rows] = expect_right(risks[rows], each, caution)
    names = pl.Series([each.source for each in precisions], dtype=pl.String)
    covered = place >= 0
    table = likely.with_columns(pl.Series(name, values) for name, values in columns.items())
    return table.filter(pl.Series(covered)).with_columns(source=names.gather(place[covered]))
