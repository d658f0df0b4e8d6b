"""How precise a risk is: how often candidates of such a risk turn out to be relevant.

The risk ranks candidates well, but its height fails: of those it gave a half or more, .95 were
relevant in one collection and .42 in another, and nothing unlabelled tells which. Pairs of known
truth do, whose risk was estimated as if it were not known. A line goes through their log-odds
(Platt 1999); the errors of its two numbers say how much less to expect to be on the safe side.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.notes import Precision
from polymine.data_contracts.risk import Linear
from polymine.mining.likelihoods import DECIMALS, labelled_pairs, solve
from polymine.mining.risk import Array, sigmoid

LEAST_RISK = 0.2  # what lies below is promoted at no budget, and calibrates nothing
LEAST_PRECISION = 0.5  # nothing that is likelier wrong than right is promoted at any budget
FEWEST_PAIRS = 50  # of known truth from which they say how precise a risk is
FEWEST_QUERIES = 20  # that they are of: pairs of one query err together
CAUTION = 1.28  # standard deviations: nine of ten such data sets are at least as precise
INTERCEPT_SPREAD, SLOPE_SPREAD = 1.5, 0.5  # how far collections lie from what the risk says
PAIR_SPREAD = 1.5  # how far a pair of languages lies from all of its kind
KINDS = ("same", "foreign")  # candidates in the language of their query, or not
FEWEST_CHECKED, FEWEST_WRONG = 20, 10  # labels, and those of 0, from which they correct a risk
CHECKED_SLOPE = 0.3  # how far the slope lies from 1, over the judged collections: 0.27, 0.20, 0.40
KEPT_RISK = 0.02  # about where negatives are kept, and how sure their rate is has to be told
SETTLED = 1e-6  # log-odds are taken of risks at least so far from 0 and 1


def fit_precisions(pairs: pl.DataFrame) -> tuple[Precision, ...]:
    """Learn how precise the risk is, for each kind of language pair and each pair with enough.

    Args:
        pairs: query_id, kind (`same` or `foreign`), languages (`ru-en`: document, query), risk,
            right (bool): pairs of known truth, with their risk as if it were not known.

    Returns:
        Kinds before language pairs, sorted; none of a kind with fewer than FEWEST_PAIRS pairs of at
        least LEAST_RISK, or of fewer than FEWEST_QUERIES queries.
    """
    found: list[Precision] = []
    likely = pairs.filter(pl.col("risk") >= LEAST_RISK).sort(pairs.columns)  # sums in one order
    for kind in KINDS:
        of_kind = likely.filter(kind=kind)
        if not _enough(of_kind):
            continue
        centre = round(float(_log_odds(of_kind["risk"].to_numpy()).mean()), DECIMALS)
        prior = _line(centre, 1.0, INTERCEPT_SPREAD, SLOPE_SPREAD, centre)
        whole = _fit(of_kind, prior, kind)
        found.append(whole)
        names = of_kind["languages"].unique().sort()
        for name in names if len(names) > 1 else []:
            part = of_kind.filter(languages=name)
            if _enough(part):
                start = _line(whole.intercept, whole.slope, PAIR_SPREAD, SLOPE_SPREAD / 2, centre)
                found.append(_fit(part, start, name))
    return tuple(sorted(found, key=lambda each: (each.pair not in KINDS, each.pair)))


def fit_corrections(pairs: pl.DataFrame, rate_spread: float) -> tuple[Precision, ...]:
    """Learn how far the risk is off, over all its height, from pairs that somebody labelled.

    Args:
        pairs: as of `fit_precisions`; few will do, as they move a risk no further than they say.
        rate_spread: of the risk; so far is it off where nothing is labelled.

    Returns:
        At most one of each kind. None of labels that hardly have a 0: a list of what is relevant is
        no sample of what is risky.
    """
    found = []
    for kind in KINDS:
        of_kind = pairs.filter(kind=kind).sort(pairs.columns)  # sums in one order
        wrong = int((~of_kind["right"]).sum())
        if len(of_kind) < FEWEST_CHECKED or wrong < FEWEST_WRONG:
            continue
        centre = round(float(_log_odds(of_kind["risk"].to_numpy()).mean()), DECIMALS)
        found.append(_fit(of_kind, _line(centre, 1.0, rate_spread, CHECKED_SLOPE, centre), kind))
    return tuple(found)


def rate_spread_of(found: Precision) -> float:
    """Say how far the log of a rate may be off where negatives are kept.

    Args:
        found: a line through labels.

    Returns:
        A standard deviation, in natural logarithms.
    """
    away = float(_log_odds(np.array([KEPT_RISK]))[0]) - found.centre
    return round(float(np.hypot(found.intercept_spread, found.slope_spread * away)), DECIMALS)


def _enough(pairs: pl.DataFrame) -> bool:
    """Whether they say anything; all may be right, or all wrong, and that says much."""
    return len(pairs) >= FEWEST_PAIRS and pairs["query_id"].n_unique() >= FEWEST_QUERIES


def _line(
    intercept: float, slope: float, intercept_spread: float, slope_spread: float, centre: float
) -> Linear:
    return Linear(
        features=("risk",), centres=(centre,), weights=(slope,), spreads=(slope_spread,),
        intercept=intercept, intercept_spread=intercept_spread,
    )  # fmt: skip


def _fit(pairs: pl.DataFrame, start: Linear, name: str) -> Precision:
    """Fit a line; its errors allow for pairs of one query that err together (sandwich)."""
    queries = pairs["query_id"].n_unique()
    odds = (_log_odds(pairs["risk"].to_numpy()) - start.centres[0])[:, None]
    right = pairs["right"].cast(pl.Float64).to_numpy()
    fitted = solve(start, [labelled_pairs(odds, right)])
    errors = right - sigmoid(fitted.intercept + odds[:, 0] * fitted.weights[0])
    of_query = np.bincount(pairs["query_id"].rank("dense").cast(pl.Int64), weights=errors)
    ratio = float(np.sum(of_query**2)) / max(float(np.sum(errors**2)), 1e-9)
    wider = max(ratio * queries / (queries - 1), 1.0) ** 0.5
    spreads = (
        (fitted.intercept_spread, start.intercept_spread), (fitted.spreads[0], start.spreads[0])
    )  # fmt: skip
    wide = [round(min(found * wider, before), DECIMALS) for found, before in spreads]
    return Precision(
        pair=name, learned_from=tuple(pairs["languages"].unique().sort()), pairs=len(pairs),
        right=int(right.sum()), queries=queries, centre=start.centres[0],
        highest=round(float(odds.max()) + start.centres[0], DECIMALS), intercept=fitted.intercept,
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
    away = np.minimum(_log_odds(risks), precision.highest) - precision.centre
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
        `precision` and cautious `lower`. Where a kind stands for a pair of languages of which it
        knows nothing, `lower` allows for how far pairs lie from their kind.
    """
    likely = candidates.filter(pl.col("risk") >= LEAST_RISK)
    place = choose_precision(likely["kind"], likely["languages"], precisions)
    risks = likely["risk"].cast(pl.Float64).to_numpy()
    columns = {"precision": np.full(len(likely), np.nan), "lower": np.full(len(likely), np.nan)}
    for number, each in enumerate(precisions):
        seen = likely["languages"].is_in(list(each.learned_from)).to_numpy()
        away = replace(each, intercept_spread=float(np.hypot(each.intercept_spread, PAIR_SPREAD)))
        for rows, sure in ((seen, each), (~seen, away)):
            rows = rows & (place == number)
            columns["precision"][rows] = expect_right(risks[rows], each)
            columns["lower"][rows] = expect_right(risks[rows], sure, CAUTION)
    table = likely.with_columns(pl.Series(name, values) for name, values in columns.items())
    return table.filter(pl.Series(place >= 0))
