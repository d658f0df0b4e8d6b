"""Fits the risk to the data at hand, starting from shipped weights.

How many relevant documents has nobody marked? A query's known positive is one of its relevant
documents, so known positives lie where relevant documents lie: their density over the evidence is
proportional to the risk (positive-unlabelled learning; Elkan and Noto 2008, case-control form).
A logistic risk saturates at 1, and a proportional density shows where: that fixes its height, not
only its slope. Only evidence that a query's single positive has, too, can be used for this; the
full model is then moved until it expects as many relevant candidates.

Weights of the full model learn from labels (judged not relevant, labelled files) and from queries
with several positives, by hiding one and finding it. All sums are made without BLAS, in the order
of the rows: the same rows give the same bits on any number of threads.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.risk import Linear, RiskModel, Source
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.likelihoods import (
    DECIMALS,
    Mask,
    labelled_pairs,
    positive_unlabelled,
    solve,
)
from polymine.mining.risk import Array, Teachers, design, features_of, log_odds, sigmoid

FEWEST_KNOWN = 10  # known positives from which they say anything of a data set
FEWEST_DRAWN = 250  # queries of a language that a fit looks at, if there are as many
FEWEST_LANGUAGE = 100  # known positives from which a language gets an offset of its own
FEWEST_LABELS = 10  # labels of either kind from which weights are fitted on them
LABELLED_SPREAD = 5.0  # of the intercept that labels have of their own
OFFSET_SPREAD = 0.5  # how far languages are expected to differ, in log-odds


@dataclass(frozen=True)
class Rows:
    """Candidates to fit on: evidence without closed pairs, but with the known positives.

    Attributes:
        features: shape (n,) each.
        known: which are known positives.
        label: 0 or 1 where a label says so, else NaN; NaN for known positives.
        same: whether the candidate is in the query's language.
        language: of the query.
        several: whether the query has more than one known positive.
    """

    features: dict[str, Array]
    known: Mask
    label: Array
    same: Mask
    language: NDArray[np.str_]
    several: Mask

    @classmethod
    def read(cls, evidence: pl.DataFrame, teachers: Teachers, languages: pl.Series) -> "Rows":
        """Take them from evidence; closed pairs other than positives are left out.

        So is what a file gave and no teacher ranked: the density of known positives among
        candidates is that of the search, whatever was brought beside it.

        Args:
            evidence: rows of the contract Evidence.
            teachers: name and kind of each.
            languages: the query's language, per row.

        Returns:
            The rows that are left, in their order.
        """
        kept = evidence.with_columns(language=languages).filter(
            pl.col("closed").is_null() | pl.col("closed").is_in(["positive", "labelled"]),
            pl.col("rank").is_not_null() | pl.col("label").is_not_null(),
        )
        known = (kept["closed"] == "positive").fill_null(value=False).to_numpy()
        label = kept["label"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        several = kept.select((pl.col("closed") == "positive").sum().over("query_id") > 1)
        return cls(
            features_of(kept, teachers),
            known,
            np.where(known, np.nan, label),
            kept["same_language"].to_numpy(),
            kept["language"].to_numpy().astype(str),
            several.to_series().to_numpy(),
        )

    def where(self, mask: Mask) -> dict[str, Array]:
        """Take the features of some rows.

        Args:
            mask: (n,), true for those to take.

        Returns:
            Feature to the values of these rows.
        """
        return {name: values[mask] for name, values in self.features.items()}


def fit(
    evidence: pl.DataFrame, teachers: Teachers, languages: pl.Series, prior: RiskModel
) -> RiskModel:
    """Fit the risk to a data set.

    Args:
        evidence: rows of the contract Evidence of all or a sample of queries.
        teachers: name and kind of each.
        languages: the query's language, per row.
        prior: where to start from, and what is kept of which the data say nothing.

    Returns:
        The model; its `sources` say on how many pairs of which kind it was fitted, its `notes`
        what could not be.
    """
    rows = Rows.read(evidence, teachers, languages)
    query_side, found = fit_query_side(rows, prior)
    same, learned, notes = _fit_full(rows, prior)
    sources = [*found, *learned]
    offsets: dict[str, float] = {}
    spread = float(np.hypot(prior.rate_spread, query_side.intercept_spread))
    if found:
        offsets, few = _fit_offsets(rows, query_side)
        notes += few
        same = _level(rows, query_side, same)
    else:
        same = same.model_copy(update={"intercept": prior.full["same"].intercept})
        notes.append(
            f"fewer than {FEWEST_KNOWN} known positives are among the candidates: how many "
            "relevant ones nobody has marked is taken from the shipped weights"
        )
    notes += _name_unseen(rows, prior)
    return prior.model_copy(
        update={
            "full": {**prior.full, "same": same},
            "query_side": query_side,
            "offsets": offsets,
            "sources": tuple(sources),
            "notes": (*prior.notes, *notes),
            "rate_spread": round(spread, DECIMALS),
        }
    )


def _name_unseen(rows: Rows, prior: RiskModel) -> list[str]:
    """Say of which languages the shipped weights know nothing."""
    seen, notes = prior.languages.get("same", ()), []
    unseen = sorted({str(name) for name in rows.language[rows.same]} - {*seen, "und"})
    if unseen and seen:
        notes.append(
            f"the weights were fitted on queries in {', '.join(seen)}, and never on any in "
            f"{', '.join(unseen)}; z-scores are expected to mean the same there"
        )
    if abroad := int(np.sum(~rows.same & ~rows.known)):
        notes.append(
            f"{abroad:,} of the candidates it was fitted to are in another language than their "
            "query; these are assessed with weights as shipped, fitted on queries in "
            f"{', '.join(prior.languages.get('foreign', ()))}, and how far such an estimate can "
            "be off is not part of the interval"
        )
    return notes


def draw_queries(queries: pl.DataFrame, labelled: pl.Series, count: int) -> pl.Series:
    """Draw the queries to fit on by a random key per id: the rows' order and shards decide nothing.

    Every language gets its share, at least `FEWEST_DRAWN`; queries with labels come first, since
    they are few and say most.

    Args:
        queries: query_id, language.
        labelled: query_ids that have a label.
        count: queries altogether, where the languages are not too many.

    Returns:
        Their ids, sorted.
    """
    ids = queries["query_id"]
    keys = uniform(0, hash_texts(ids), np.zeros(len(ids), dtype=np.uint64))
    later = ~pl.col("query_id").is_in(labelled.unique().implode())
    table = queries.with_columns(key=pl.Series(keys), later=later)
    share = max(count // max(table["language"].n_unique(), 1), min(FEWEST_DRAWN, count))
    nth = pl.int_range(pl.len()).over("language")
    return table.sort("later", "key").filter(nth < share)["query_id"].sort()


def fit_query_side(rows: Rows, prior: RiskModel) -> tuple[Linear, list[Source]]:
    """Find what known positives say of the candidates that are like them (Elkan and Noto 2008).

    Labelled candidates stay among the others: leaving out what is known to be irrelevant would
    make the rest look as if nothing irrelevant were near.

    Args:
        rows: only those in their query's language are used.
        prior: where to start from.

    Returns:
        The fitted model and how many known positives it rests on; the prior's and an empty list
        for fewer than ten.
    """
    start = prior.query_side
    pool = rows.same
    known = rows.known[pool]
    if known.sum() < FEWEST_KNOWN:
        return start, []
    matrix = design(rows.where(pool), start.features, start.centres)
    fitted = solve(start, [positive_unlabelled(matrix, known)])
    return fitted, [Source(name="known positives", pairs=int(known.sum()))]


def _fit_full(rows: Rows, prior: RiskModel) -> tuple[Linear, list[Source], list[str]]:
    """Learn the weights of all evidence from labels and hidden positives, where there are any.

    Labels have an intercept of their own: people label what is near, so their share of relevant
    ones says nothing of the rest.
    """
    start = prior.full["same"]
    terms, sources, notes = [], [], []
    hidden = rows.known & rows.several & rows.same
    if hidden.sum() >= FEWEST_KNOWN:
        pool = rows.same & rows.several
        matrix = design(rows.where(pool), start.features, start.centres)
        apart = np.zeros((len(matrix), 1))
        terms.append(positive_unlabelled(np.hstack([matrix, apart]), rows.known[pool]))
        sources.append(Source(name="hidden positives", pairs=int(hidden.sum())))
    labelled = rows.same & ~np.isnan(rows.label)
    ones, count = int(np.sum(rows.label[labelled])), int(labelled.sum())
    if min(ones, count - ones) >= FEWEST_LABELS:
        matrix = design(rows.where(labelled), start.features, start.centres)
        apart = np.ones((len(matrix), 1))
        terms.append(labelled_pairs(np.hstack([matrix, apart]), rows.label[labelled]))
        sources.append(Source(name="labels", pairs=count))
    elif count:
        notes.append(
            f"{count:,} labelled candidates are obeyed but not fitted on: that takes at least "
            f"{FEWEST_LABELS} that are relevant and as many that are not (here {ones} and "
            f"{count - ones})"
        )
    if not terms:
        return start, sources, notes
    wide = start.model_copy(
        update={"weights": (*start.weights, 0.0), "spreads": (*start.spreads, LABELLED_SPREAD)}
    )
    found = solve(wide, terms, monotone=len(start.weights))
    kept = {"weights": found.weights[:-1], "spreads": found.spreads[:-1]}
    return found.model_copy(update=kept), sources, notes


def _level(rows: Rows, query_side: Linear, full: Linear) -> Linear:
    """Move the full model's intercept until it expects what the query side expects."""
    pool = rows.same & ~rows.known
    if not pool.any():
        return full
    features = rows.where(pool)
    wanted = float(np.sum(sigmoid(log_odds(query_side, features))))
    odds = log_odds(full, features)
    return full.model_copy(update={"intercept": full.intercept + find_shift(odds, wanted)})


def _fit_offsets(rows: Rows, query_side: Linear) -> tuple[dict[str, float], list[str]]:
    """Find how far each query language lies from all together, where it has enough positives."""
    pool = rows.same
    names = sorted(set(rows.language[pool]))
    offsets, few = {}, []
    for name in names if len(names) > 1 else []:
        part = pool & (rows.language == name)
        if rows.known[part].sum() < FEWEST_LANGUAGE:
            few.append(name)
            continue
        matrix = log_odds(query_side, rows.where(part))[:, None]
        term = positive_unlabelled(matrix, rows.known[part])
        start = Linear(
            features=("all",), centres=(0.0,), weights=(1.0,), spreads=(1e-3,),
            intercept=0.0, intercept_spread=OFFSET_SPREAD,
        )  # fmt: skip
        offsets[name] = solve(start, [term]).intercept
    notes = [f"too few known positives for an offset of their own: {', '.join(few)}"] if few else []
    return offsets, notes


def find_shift(odds: Array, wanted: float) -> float:
    """Find what to add to log-odds so that the probabilities sum up to a number.

    Args:
        odds: log-odds, (n,).
        wanted: the sum, from 0 to n.

    Returns:
        The shift by bisection, with six decimals, within -60 .. 60.
    """
    wanted = min(max(wanted, 1e-6 * len(odds)), (1 - 1e-6) * len(odds))
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        if float(np.sum(sigmoid(odds + middle))) < wanted:
            low = middle
        else:
            high = middle
    return round(low, DECIMALS)
