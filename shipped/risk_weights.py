"""Fits the weights of the risk on collections whose judgments are (nearly) complete.

Of each query one relevant document is revealed and the others are hidden, as in a training set.
Collections weigh alike and each has an intercept of its own, because they differ in how much is
relevant; what they share are the weights. How far weights and intercepts differ between them is how
far a new data set's may lie: the spreads of the prior. Every collection is also left out in turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Choice
from polymine.data_contracts.risk import Bin, Linear, Pair, Proof, RiskModel, Source
from polymine.mining.budget import CURVE, Pool, choose, expected_rate
from polymine.mining.likelihoods import labelled_pairs, solve
from polymine.mining.risk import (
    FEATURES,
    QUERY_SIDE,
    Array,
    Teachers,
    columns_of,
    design,
    features_of,
    kinds_of,
    predict_risk,
)
from polymine.mining.risk_fit import fit

PAIRS_PER_COLLECTION = 10_000.0  # how many pairs each collection counts as, whatever it has
SMALLEST_SPREAD = 0.02  # of a weight: a handful of collections cannot show that it is always alike
INTERCEPT_SPREAD = 2.0  # of the intercept: wide, since they differ most in how much is relevant
# Of the weights that are fitted to known positives. They set the height well and slopes badly: with
# slopes free, what was expected of cisi was a fifth of the truth.
QUERY_SIDE_SPREAD = 0.05
EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the reliability diagram
RATES = (0.02, 0.05, 0.1)  # budgets at which expected and true rates are compared
NEGATIVES = 7


@dataclass(frozen=True)
class Judged:
    """Evidence on a collection's candidates with the truth: columns of Evidence, and `truth`.

    `language` is the query's, per row.
    """

    name: str
    evidence: pl.DataFrame

    def open(self) -> pl.DataFrame:
        """Candidates that are not closed."""
        return self.evidence.filter(pl.col("closed").is_null())


def fit_weights(
    judged: Mapping[str, Sequence[Judged]], foreign: Sequence[Judged], teachers: Teachers
) -> RiskModel:
    """Fit the prior: by collection, one or more draws of revealed positives each.

    Args:
        judged: draws by the name of their collection; candidates in the query's language.
        foreign: multilingual pools, whose candidates in another language than the query are used.
        teachers: their names and kinds; features of other kinds are left out.
    """
    known = tuple(columns_of(teachers))
    names = tuple(name for name in FEATURES if name in known)
    asked = tuple(name for name in names if name in QUERY_SIDE)
    rows = {name: pl.concat([draw.open() for draw in draws]) for name, draws in judged.items()}
    other = {draw.name: draw.open().filter(~pl.col("same_language")) for draw in foreign}
    full: dict[Pair, Linear] = {"same": _fit_linear(rows, names, teachers)}
    full["foreign"] = _fit_linear(other, names, teachers) if other else full["same"]
    return RiskModel(
        kinds=kinds_of(teachers),
        languages={"same": _languages(rows), "foreign": _languages(other or rows)},
        full=full,
        query_side=_fit_linear(rows, asked, teachers).model_copy(
            update={"spreads": (QUERY_SIDE_SPREAD,) * len(asked)}
        ),
        rate_spread=0.0,
        sources=tuple(
            Source(name=name, pairs=len(part)) for name, part in {**rows, **other}.items()
        ),
    )


def _languages(rows: Mapping[str, pl.DataFrame]) -> tuple[str, ...]:
    return tuple(sorted({name for part in rows.values() for name in part["language"].unique()}))


def _fit_linear(
    rows: Mapping[str, pl.DataFrame], names: tuple[str, ...], teachers: Teachers
) -> Linear:
    """One set of weights for all collections, an intercept for each."""
    features = {name: features_of(part, teachers) for name, part in rows.items()}
    centres = tuple(
        round(float(np.mean([np.nanmean(part[name]) for part in features.values()])), 4)
        for name in names
    )
    together, intercepts = _solve(rows, features, names, centres)
    alone = [
        _solve({name: part}, {name: features[name]}, names, centres)[0]
        for name, part in rows.items()
    ]
    apart = np.std(np.array(alone), axis=0, ddof=1) if len(alone) > 1 else np.zeros(len(names))
    return Linear(
        features=names,
        centres=centres,
        weights=tuple(round(float(weight), 4) for weight in together),
        spreads=tuple(round(float(max(one, SMALLEST_SPREAD)), 4) for one in apart),
        intercept=round(float(np.mean(intercepts)), 4),
        intercept_spread=INTERCEPT_SPREAD,
    )


def _solve(
    rows: Mapping[str, pl.DataFrame],
    features: Mapping[str, dict[str, Array]],
    names: tuple[str, ...],
    centres: tuple[float, ...],
) -> tuple[Array, Array]:
    blocks, truth, shares = [], [], []
    for at, (name, part) in enumerate(rows.items()):
        own = np.zeros((len(part), len(rows)))
        own[:, at] = 1
        blocks.append(np.hstack([design(features[name], names, centres), own]))
        truth.append(part["truth"].to_numpy().astype(float))
        shares.append(np.full(len(part), PAIRS_PER_COLLECTION / len(part)))
    columns = (*names, *rows)
    start = Linear(
        features=columns,
        centres=(0.0,) * len(columns),
        weights=(0.0,) * len(columns),
        spreads=(10.0,) * len(columns),
        intercept=0.0,
        intercept_spread=1e-3,
    )
    term = labelled_pairs(np.vstack(blocks), np.concatenate(truth), np.concatenate(shares))
    weights = np.array(solve(start, [term], monotone=len(names)).weights)
    return weights[: len(names)], weights[len(names) :]


def prove(
    judged: Mapping[str, Sequence[Judged]], foreign: Sequence[Judged], teachers: Teachers
) -> tuple[dict[str, RiskModel], tuple[Proof, ...], float]:
    """Leave every collection out in turn.

    Returns:
        The weights without each, what they expected of it and what was true, and the standard
        deviation of ln(expected rate / true rate) at the budgets of `RATES`.
    """
    without, proofs, misses = {}, [], []
    for name, draws in judged.items():
        others = {other: rows for other, rows in judged.items() if other != name}
        without[name] = fit_weights(others, foreign, teachers)
        parts = [_assess(without[name], draw, teachers) for draw in draws]
        proofs.append(_proof(name, parts))
        for budget in RATES:
            rates = np.array([_rates(part, budget) for part in parts])
            expected, true = rates.mean(axis=0)
            misses.append(np.log(max(expected, 1e-3) / max(true, 1e-3)))
    return without, tuple(proofs), round(float(np.sqrt(np.mean(np.square(misses)))), 4)


def _assess(prior: RiskModel, draw: Judged, teachers: Teachers) -> pl.DataFrame:
    """Fit to a draw as a user's data would be, and assess its open candidates."""
    model = fit(draw.evidence, teachers, draw.evidence["language"], prior)
    rows = draw.open()
    risk = predict_risk(model, rows, teachers, rows["language"])
    score = next(
        f"score_{name}" for name, kind in teachers if kind == "dense" or len(teachers) == 1
    )
    return rows.select("query_id", "doc_id", "truth", score=score).with_columns(
        risk=pl.Series(risk)
    )


def _proof(name: str, parts: Sequence[pl.DataFrame]) -> Proof:
    rows, queries = pl.concat(parts), sum(part["query_id"].n_unique() for part in parts)
    cut = rows.with_columns(bin=pl.col("risk").cut(list(EDGES[1:-1]), labels=None))
    bins = cut.group_by("bin").agg(
        expected=pl.mean("risk"), true=pl.col("truth").mean(), count=pl.len()
    )
    return Proof(
        collection=name,
        expected=round(float(rows["risk"].sum()) / max(queries, 1), 4),
        true=round(float(rows["truth"].sum()) / max(queries, 1), 4),
        bins=tuple(
            Bin(expected=round(e, 4), true=round(t, 4), count=n)
            for _, e, t, n in bins.sort("expected").rows()
        ),
    )


def _rates(rows: pl.DataFrame, budget: float) -> tuple[float, float]:
    """Expected and true rate of the negatives chosen at the lowest price within a budget."""
    ordered = rows.sort("query_id", "score", "doc_id", descending=[False, True, False])
    nth = ordered.select(pl.int_range(pl.len()).over("query_id")).to_series().to_numpy()
    starts = np.append(np.flatnonzero(nth == 0), len(ordered))
    pool = Pool(starts, ordered["score"].cast(pl.Float64).to_numpy(), ordered["risk"].to_numpy())
    truth = ordered["truth"].to_numpy()
    for price in np.geomspace(1e-2, 1e3, 3 * CURVE):
        chosen = choose(pool, Choice(float(price), 1.0), NEGATIVES)
        if expected_rate(pool, chosen) <= budget:
            break
    return expected_rate(pool, chosen), float(truth[chosen].mean())
